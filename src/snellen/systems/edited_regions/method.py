"""The scan: which parts of your images a detector takes for edited, and by which editor.

Ci et al., arXiv 2511.19111. Images are read at their own size and never resized. One that is nearly all "edited" is
*outside scope* (a global edit, a restyled or generated picture): a detector of regions says nothing of it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from snellen.core.classifier import Classifier
from snellen.core.errors import InputError, RejectedImageError
from snellen.core.evidence import Evidence
from snellen.core.images import ImageSet
from snellen.core.method import Method
from snellen.core.outcomes import Scanned, Shown
from snellen.core.preprocessing import to_unit
from snellen.core.progress import Progress, Silent
from snellen.core.randomness import Randomness
from snellen.metrics.intervals import clopper_pearson
from snellen.systems.edited_regions.detecting import Regions, found_regions
from snellen.systems.edited_regions.detector import Detector, load_detector

#: What progress calls it.
TASK = "looking for edited regions"

#: How a missing detector is named.
HOW = (
    "needs a detector (--detector FOLDER), as snellen train edited-regions makes one of images whose edits are known; "
    "see docs/systems/edited_regions.md"
)

#: Least side of an image, pixels, and share of edited pixels above which an image is outside scope.
LEAST_SIDE, MOST_SHARE = 16, 0.9

#: Area under the ROC curve of validation images below which a detector knows hardly more than chance, and images of
#: each kind below which its threshold is a guess.
LEAST_AREA, FEWEST = 0.6, 10

#: Kinds of images of a made set.
KINDS = ("edited", "untouched")

#: States of an image in the evidence, as reasons.
EDITED, GLOBAL = (
    "edited",
    "outside scope: nearly all of it is predicted as edited (a global edit, or a generated image)",
)

#: Colours of editors in pictures, repeated where there are more.
COLOURS = ((230, 25, 75), (0, 130, 200), (255, 200, 0), (145, 30, 180), (60, 180, 75), (245, 130, 48), (70, 240, 240),
           (240, 50, 230))  # fmt: skip


@dataclass
class _Found:
    ids: list[str] = field(default_factory=list)
    units: list[str | None] = field(default_factory=list)
    shares: list[float] = field(default_factory=list)
    heads: list[float] = field(default_factory=list)
    editors: list[int] = field(default_factory=list)
    rejected: list[tuple[str, str]] = field(default_factory=list)
    shown: list[tuple[float, str, Tensor, Regions]] = field(default_factory=list)


class EditedRegions(Method):
    """Find the regions of images that an editor wrote, and name the editor.

    >>> EditedRegions().missing()[:16]
    'needs a detector'
    """

    name: ClassVar[str] = "edited_regions"
    finds: ClassVar[tuple[str, ...]] = ()

    detector: str | None = Field(
        None, description="folder, or artifact:FOLDER, of a detector that the recipe edited-regions trained"
    )
    threshold: float | None = Field(
        None,
        ge=0,
        le=1,
        description="share of edited pixels, above 0, from which on an image is reported; left out, that of the "
        "detector, chosen on its validation images",
    )
    window: int | None = Field(
        None, ge=LEAST_SIDE, description="side of the windows, pixels; left out, that of the detector's training"
    )
    pictures: int = Field(24, ge=0, description="images with the largest edited share that are kept as pictures")

    def missing(self, classifier: Classifier | None = None, images: ImageSet | None = None) -> str | None:
        """Say why this cannot run."""
        return HOW if self.detector is None else super().missing(classifier, images)

    def load(self) -> None:
        """Load the detector, so that an unusable one raises before any image is read."""
        if self.detector is not None:
            load_detector(self.detector)

    def reference_hashes(self) -> dict[str, str]:
        """Hash of the detector, which distinguishes another scan from this one."""
        return {} if self.detector is None else {"detector": load_detector(self.detector).card.sha256}

    def scan(
        self,
        images: ImageSet,
        *,
        classifier: Classifier | None = None,
        rng: Randomness,
        progress: Progress | None = None,
    ) -> Scanned:
        """Scan images; nothing is random, and a classifier decides nothing.

        Returns:
            A row for each image: the value is the share of its pixels that are predicted as edited, the prediction the
            label of the editor with most of them, and the reason "edited" from the threshold on. Images outside scope
            are rows of status "skipped". The statistic is the share of the judged images that are reported.

        Raises:
            InputError: no detector, one that cannot be read, or windows that are too small for it.
        """
        reason = self.missing(classifier, images)
        if reason is not None or self.detector is None:
            raise InputError(f"{self.name} {reason}")
        loaded = load_detector(self.detector, "cpu" if classifier is None else classifier.device)
        threshold = loaded.threshold if self.threshold is None else self.threshold
        listener = progress or Silent()
        listener.begin(TASK, len(images))
        found = self._scored(images, loaded, listener)
        listener.finish(TASK)
        judged = [share for share in found.shares if share <= MOST_SHARE]
        hits = sum(_reaches(share, threshold) for share in judged)
        evidence = Evidence.merge([self._rows(found, threshold, loaded), self._lost(found)])
        if not found.ids:
            return Scanned(evidence, None, "no image could be used")
        figures: dict[str, float | None] = {
            "images": float(len(found.ids)),
            "outside scope": float(len(found.ids) - len(judged)),
            "reported": float(hits),
            "threshold": threshold if np.isfinite(threshold) else None,
        }
        if judged:
            low, high = clopper_pearson(hits, len(judged))
            figures |= {"share reported": hits / len(judged), "share.low": low, "share.high": high}
        figures |= _of_known(found, images, threshold)
        return Scanned(
            evidence=evidence,
            statistic=hits / len(judged) if judged else None,
            verdict=self._verdict(found, hits, len(judged), threshold, loaded),
            figures=figures,
            pictures=[
                Shown(
                    name=name,
                    text=f"{share:.1%} edited  {name}",
                    pictures={
                        "image": to_unit(pixels),
                        "probability": heat_map(pixels, regions.edited),
                        "editors": editor_map(pixels, regions.labels),
                    },
                )
                for share, name, pixels, regions in found.shown
            ],
        )

    def _scored(self, images: ImageSet, loaded: Detector, progress: Progress) -> _Found:
        found, units = _Found(), images.column("unit_id")
        window, least = self.window or loaded.window, loaded.network.least_side
        if window < least:
            raise InputError(
                f"windows of {window} pixels are too small for {loaded.network.architecture}, which needs {least}; "
                f"raise --window"
            )
        for row, name in enumerate(images.ids):
            progress.advance(TASK, 1)
            try:
                picture = images.read(row)
                if min(picture.size) < least:
                    raise RejectedImageError(
                        f"it is {picture.size[0]} x {picture.size[1]} pixels; each side needs {least} at least for "
                        f"{loaded.network.architecture}"
                    )
                pixels = torch.from_numpy(np.array(picture)).permute(2, 0, 1).contiguous()
                if bool((pixels[0] == pixels[1]).all() and (pixels[1] == pixels[2]).all()):
                    raise RejectedImageError("it is grey: traces of a camera's colour filters are what edits lack")
                (regions,) = found_regions(loaded.network, pixels[None], window=window)
                if not np.isfinite(regions.edited).all():
                    raise RejectedImageError("the detector's scores are not finite (NaN or infinity)")
            except RejectedImageError as error:
                found.rejected.append((name, str(error)))
                continue
            found.ids.append(name)
            found.units.append(None if units[row] is None else str(units[row]))
            found.shares.append(regions.share)
            found.heads.append(float((regions.binary > 0.5).mean()))
            counts = np.bincount(regions.labels.ravel(), minlength=len(loaded.editors) + 1)
            found.editors.append(1 + int(counts[1:].argmax()) if counts[1:].any() else 0)
            if self.pictures:
                found.shown.append((regions.share, name, pixels, regions))
                found.shown.sort(key=lambda one: (-one[0], one[1]))
                del found.shown[self.pictures :]
        return found

    def _rows(self, found: _Found, threshold: float, loaded: Detector) -> Evidence:
        outside = [share > MOST_SHARE for share in found.shares]
        reasons = [
            GLOBAL if out else EDITED if _reaches(share, threshold) else None
            for share, out in zip(found.shares, outside, strict=True)
        ]
        names = ("untouched", *loaded.editors)
        return Evidence.of(
            found.ids,
            setting=self.name,
            model="",
            unit_ids=found.units,
            prediction=found.editors,
            value=found.shares,
            status=["skipped" if out else "ok" for out in outside],
            reason=reasons,
            extra={
                "editor": pa.array([names[one] for one in found.editors], pa.string()),
                "binary_head": pa.array(found.heads, pa.float64()),
            },
            assumptions=self._assumptions(loaded),
            control=_control(loaded),
        )

    def _lost(self, found: _Found) -> Evidence:
        return Evidence.of(
            [name for name, _ in found.rejected],
            setting=self.name,
            model="",
            status="rejected",
            reason=[why for _, why in found.rejected],
            extra={"editor": pa.nulls(len(found.rejected), pa.string())}
            | {"binary_head": pa.nulls(len(found.rejected), pa.float64())},
        )

    def _assumptions(self, loaded: Detector) -> tuple[str, ...]:
        return (
            f"the detector knows {len(loaded.editors)} editors ({', '.join(loaded.editors)}); an edit by another one "
            "may be missed, or named after one of these",
            "JPEG compression and resizing after the edit take the traces away: an image without a report is not "
            "proven to be untouched",
            f"detector {loaded.card.sha256[:16]}",
        )

    def _verdict(self, found: _Found, hits: int, judged: int, threshold: float, loaded: Detector) -> str:
        outside = len(found.ids) - judged
        also = f"; {outside} more are outside scope" if outside else ""
        also += "".join(f"; {one}" for one in _doubts(loaded))
        if not judged:
            return f"nothing could be judged{also}"
        if np.isinf(threshold):
            return f"none of {judged} images is reported: the detector has no threshold, see --threshold{also}"
        said = f"{hits} of {judged} images have at least {threshold:.2%} of their pixels predicted as edited"
        if hits:
            rows = [
                at
                for at, share in enumerate(found.shares)
                if _reaches(share, threshold) and share <= MOST_SHARE and found.editors[at]
            ]
            counts = np.bincount([found.editors[at] for at in rows], minlength=len(loaded.editors) + 1)[1:]
            if counts.any():
                said += f", most by {loaded.editors[int(counts.argmax())]!r}; a sign of an edit, and no proof"
        return said + also


def _reaches(share: float, threshold: float) -> bool:
    """Whether an image is reported: an edited pixel at least, for any threshold."""
    return share > 0 and share >= threshold


def _doubts(loaded: Detector) -> list[str]:
    """What the detector's validation images say against it."""
    metrics, found = loaded.card.metrics, []
    area, counts = metrics.get("val.image.auroc"), [metrics.get(f"val.images.{one}") for one in KINDS]
    if np.isinf(loaded.threshold):
        found.append("on the detector's validation images no threshold was better than to report nothing")
    if area is not None and area < LEAST_AREA:
        found.append(
            f"the detector knows hardly more than chance: the area under the ROC curve of its validation images is "
            f"{area:.2f}, and 0.5 is chance"
        )
    if any(one is not None and one < FEWEST for one in counts):
        edited, untouched = (int(one or 0) for one in counts)
        found.append(
            f"its threshold was chosen on {edited} edited and {untouched} untouched images; {FEWEST} of each are needed"
        )
    return found


def _control(loaded: Detector) -> str | None:
    """What the detector does on its validation images."""
    false, hit = loaded.card.metrics.get("val.false_edits"), loaded.card.metrics.get("val.iou")
    if false is None or hit is None:
        return None
    return f"on validation images, {false:.2%} of untouched pixels were called edited, and the binary IoU was {hit:.2f}"


def _of_known(found: _Found, images: ImageSet, threshold: float) -> dict[str, float | None]:
    """Where the set says which images were edited, how many the scan reports of either kind."""
    names = images.class_names or ()
    if not images.has_labels or set(names) != set(KINDS):
        return {}
    labels = dict(zip(images.ids, images.labels.tolist(), strict=True))
    figures: dict[str, float | None] = {}
    for kind in names:
        rows = [at for at, one in enumerate(found.ids) if labels[one] == names.index(kind)]
        rows = [at for at in rows if found.shares[at] <= MOST_SHARE]
        if rows:
            figures[f"reported of {kind}"] = float(np.mean([_reaches(found.shares[at], threshold) for at in rows]))
    return figures


def heat_map(pixels: Tensor, probability: NDArray[np.float32]) -> Tensor:
    """A grey image under a map of probability, from nothing to red: bytes (3, h, w), (h, w) → float (3, h, w)."""
    grey = to_unit(pixels).mean(0, keepdim=True).expand(3, -1, -1) * 0.6
    red = torch.tensor([1.0, 0.1, 0.1])[:, None, None]
    weight = torch.from_numpy(probability)[None]
    return (grey * (1 - weight) + red * weight).clamp(0, 1)


def editor_map(pixels: Tensor, labels: NDArray[np.uint8]) -> Tensor:
    """A grey image with a colour for each editor: bytes (3, h, w), (h, w) → float (3, h, w)."""
    shown = to_unit(pixels).mean(0, keepdim=True).expand(3, -1, -1) * 0.6
    table = torch.tensor([(0, 0, 0), *COLOURS], dtype=torch.float32) / 255
    index = torch.from_numpy(labels.astype(np.int64))
    colour = table[torch.where(index > 0, 1 + (index - 1) % len(COLOURS), 0)].permute(2, 0, 1)
    return torch.where(index > 0, 0.25 * shown + 0.75 * colour, shown)
