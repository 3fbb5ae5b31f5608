"""``snellen scan tileability``: which textures show a seam, or a repetition, when they are laid side by side."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import pyarrow as pa
import torch
from PIL import Image
from pydantic import Field
from torch import Tensor

from snellen.core.classifier import Classifier
from snellen.core.errors import RejectedImageError
from snellen.core.evidence import Evidence
from snellen.core.images import ImageSet
from snellen.core.method import Method
from snellen.core.outcomes import Scanned, Shown
from snellen.core.progress import Progress, Silent
from snellen.core.randomness import Randomness
from snellen.data.worlds.textures.breaking import seam_energy_ratio
from snellen.systems.tileability.tileability import SCALE, SMALLEST, load_tileability

#: What progress calls it.
TASK = "tiling"

#: Largest side of an image as it is read, pixels: larger ones are made smaller, the network sees less anyway.
LARGEST = 2048

#: From this ratio of jumps on, what gives a texture away is a seam.
SEAM = 1.5

#: From this ratio on, a texture that the metric passes is named all the same. A motif with an edge at its border may
#: have such a jump, and repeat.
DOUBTFUL = 2.0


class TileabilityScan(Method):
    """Score every image by how well it repeats side by side.

    >>> TileabilityScan().record()["model"]
    'bundled:tileability'
    """

    name: ClassVar[str] = "tileability"
    finds: ClassVar[tuple[str, ...]] = ("texture_seam",)

    model: str = Field("bundled:tileability", description="bundled:tileability, textile:FILE or folder:FOLDER")
    threshold: float = Field(0.0, description="logit below which a texture does not repeat")
    scale: float = Field(SCALE, gt=0, le=1, description="what makes a score in (0, 1) of a logit (lambda)")
    pictures: int = Field(24, ge=0, description="textures that are kept as pictures, tiled, the worst first")

    def scan(
        self,
        images: ImageSet,
        *,
        classifier: Classifier | None = None,
        rng: Randomness,
        progress: Progress | None = None,
    ) -> Scanned:
        """Score images; neither a classifier nor labels are needed.

        Returns:
            A row for each image: its logit as value, its score and its ratio of jumps beside it, and the reason in
            words where it does not repeat. The statistic is the share of images that do not.
        """
        metric, listener = load_tileability(self.model), progress or Silent()
        ids, logits, ratios, rejected = list[str](), list[float](), list[float](), dict[str, str]()
        rows = list[int]()
        listener.begin(TASK, len(images))
        for row, one in enumerate(images.ids):
            try:
                pixels = _pixels(images.read(row))
            except RejectedImageError as error:
                rejected[one] = str(error)
            else:
                with torch.no_grad():
                    logit = float(metric.logits(pixels)[0])
                if np.isfinite(logit):
                    ids.append(one)
                    rows.append(row)
                    logits.append(logit)
                    ratios.append(_ratio(pixels))
                else:
                    rejected[one] = "its logit is not finite"
            listener.advance(TASK, 1)
        listener.finish(TASK)
        lost = Evidence.of(
            list(rejected), setting=self.name, model=self.model, status="rejected", reason=list(rejected.values())
        )
        if not ids:
            return Scanned(lost, None, "no image could be used")
        values, units = np.array(logits), images.column("unit_id")
        reasons = [self._reason(logit, ratio) for logit, ratio in zip(logits, ratios, strict=True)]
        scores = 1 / (1 + np.exp(-self.scale * values))
        found = Evidence.of(
            ids,
            setting=self.name,
            model=self.model,
            unit_ids=[None if units[row] is None else str(units[row]) for row in rows],
            value=logits,
            status=["ok"] * len(ids),
            reason=reasons,
            extra={"score": pa.array(scores), "seam_ratio": pa.array(ratios)},
            assumptions=(
                "an image is meant to be laid side by side with itself, as it is; photographs of things are not",
                "elongated images are squashed to a square before they are judged",
            ),
        )
        bad = int((values < self.threshold).sum())
        doubtful = int(((values >= self.threshold) & (np.array(ratios) >= DOUBTFUL)).sum())
        order = np.argsort(values, kind="stable")[: self.pictures]
        return Scanned(
            evidence=Evidence.merge([found, lost]) if rejected else found,
            statistic=bad / len(ids),
            verdict=_verdict(bad, doubtful, len(ids)),
            figures={
                "images": float(len(ids)),
                "do not repeat": float(bad),
                "pass with a jump": float(doubtful),
                "mean score": float(scores.mean()),
                "median ratio of jumps": float(np.median(ratios)),
            },
            pictures=[
                Shown(
                    name=ids[place],
                    text=f"score {scores[place]:.2f}, jump {ratios[place]:.1f} of that inside: {ids[place]}",
                    pictures=_pictures(images.read(rows[place])),
                )
                for place in order.tolist()
            ],
        )

    def _reason(self, logit: float, ratio: float) -> str | None:
        if logit >= self.threshold:
            jump = f"passes, but the jump at its seams is {ratio:.1f} times that inside: look at it"
            return jump if ratio >= DOUBTFUL else None
        return "a seam" if ratio >= SEAM else "no seam, but a repetition that shows"


def _verdict(bad: int, doubtful: int, total: int) -> str:
    if not bad:
        found = f"all {total} textures repeat, as far as the metric sees"
    else:
        found = f"{bad} of {total} textures do not repeat side by side without a seam or a motif that shows"
    if not doubtful:
        return found
    return f"{found}; {doubtful} more have a jump at their seams that the metric passes over: look at them"


def _pixels(image: Image.Image) -> Tensor:
    """Float32 (1, 3, h, w) in [0, 1].

    Raises:
        RejectedImageError: an image that is too small.
    """
    if min(image.size) < SMALLEST:
        raise RejectedImageError(f"{image.width} × {image.height} pixels; a texture needs {SMALLEST} or more")
    if max(image.size) > LARGEST:
        image = image.copy()
        image.thumbnail((LARGEST, LARGEST))
        if min(image.size) < SMALLEST:
            raise RejectedImageError("so elongated that little is left when it is made smaller")
    values = np.asarray(image.convert("RGB"), dtype=np.float32) / 255
    return torch.from_numpy(values).permute(2, 0, 1)[None].contiguous()


def _ratio(pixels: Tensor) -> float:
    values = (pixels[0] * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()
    return float(seam_energy_ratio(values[None])[0])


def _pictures(image: Image.Image) -> dict[str, Tensor]:
    """One copy and two by two, at 256 pixels: float32 (3, 256, 256) each."""
    pixels = _pixels(image)
    return {name: _shown(pixels.tile(1, 1, copies, copies)) for name, copies in (("one", 1), ("two by two", 2))}


def _shown(pixels: Tensor) -> Tensor:
    return torch.nn.functional.interpolate(pixels, (256, 256), mode="bilinear", antialias=True)[0].clamp(0, 1)
