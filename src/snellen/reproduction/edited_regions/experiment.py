"""System 22: are edits found and named, what destroys their traces, and how does a whole-image network compare.

Photographed scenes are edited in one to three turns by four small editors with different decoders. One segmenter is
trained on all, another without the images of one editor, and whole-image networks on the same images in the same steps
each time, whose learning rate and pooling validation images choose. Error levels and residuals are baselines without
any training.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from snellen.core.progress import Progress
from snellen.core.randomness import Randomness
from snellen.core.system import Scale
from snellen.reproduction.edited_regions.full import full
from snellen.reproduction.edited_regions.materials import (
    EDITORS,
    LEFT,
    SMALL,
    SMOKE,
    Size,
    Split,
    editor_figures,
    made_splits,
    regions_of,
    spliced,
    trained_editors,
    trained_segmenter,
    untrained_iou,
)
from snellen.reproduction.edited_regions.rivals import chosen_setting, fitted_rival, image_auroc, residual_scores
from snellen.reproduction.sample import Figure, Sample
from snellen.systems.edited_regions.detecting import Regions
from snellen.systems.edited_regions.distortions import Distortion, error_levels, residual_levels
from snellen.systems.edited_regions.fitting import LabelledImages
from snellen.systems.edited_regions.made_set import MadeSet
from snellen.systems.edited_regions.measures import (
    area_recall,
    best_threshold,
    boundary_counts,
    boundary_f,
    confusion,
    localised,
)
from snellen.systems.edited_regions.networks import RegionNetwork
from snellen.systems.edited_regions.recipe import figures_of
from snellen.systems.edited_regions.whole_image import edited_scores

#: Distortions, by their names in figures.
DISTORTED: Mapping[str, str] = {
    "jpeg90": "jpeg:90",
    "jpeg70": "jpeg:70",
    "resize90": "resize:0.9",
    "resize75": "resize:0.75",
    "noise2": "noise:2",
}


def edited_regions(scale: Scale, seed: int, progress: Progress) -> Mapping[str, Figure]:
    """Measure the claims of system 22.

    Returns:
        Of the segmenter ``iou`` and further figures on clean images, on those of each kind of base and after each
        distortion; of baselines ``zero``, ``ela``, ``residual``, ``cnn`` and ``chance``; of the controls ``spliced``
        and ``blurred``; and of the training without one editor ``left``.
    """
    if scale == "full":
        return full(seed, progress)
    return Experiment(SMOKE if scale == "smoke" else SMALL, seed, progress).figures()


edited_regions.stand_ins = {  # type: ignore[attr-defined]
    "smoke": ("as small, with 24 images and one pass of each training",),
    "small": (
        "photographed scenes of 64 pixels for COCO; 800 images for 30,000",
        "four autoencoders with different decoders for eight diffusion models",
        "the scene program for Qwen2.5-VL and Grounded-SAM",
        "a U-Net of 97 thousand parameters for FCN-8s, DeepLabv3+ and SegFormer",
    ),
    "full": ("see full.py",),
}


@dataclass
class Experiment:
    """One seed, which decides scenes, editors, edits and weights."""

    size: Size
    seed: int
    progress: Progress

    def figures(self) -> dict[str, Figure]:
        """All figures of a seed."""
        size, seed = self.size, self.seed
        networks = trained_editors(size, seed, self.progress)
        made, splits = made_splits(networks, size, seed, self.progress)
        train, self.val, test = (splits[one] for one in ("train", "val", "test"))
        segmenter = trained_segmenter(train.labelled, size, seed, self.progress)
        self.setting = chosen_setting(train.labelled, self.val.labelled, size, seed, self.progress)
        rival = fitted_rival(train.labelled, self.setting, size, seed, self.progress)
        found = regions_of(segmenter, test.labelled.images)
        figures: dict[str, Figure] = {
            **figures_of(found, test.labelled, len(EDITORS)),
            **self._made(made),
            **editor_figures(networks, seed),
            **_by_area(found, test),
            **self._kinds(segmenter, test),
            **self._distorted(segmenter, test.labelled),
            **self._whole(segmenter, found, test),
            **_whole_areas(found, edited_scores(rival, test.labelled.images).numpy(), test),
            "zero.iou": localised(_matrix(test.labelled, [np.zeros_like(one.labels) for one in found])).iou,
            "ela.iou": self._untrained(error_levels, test.labelled),
            "residual.iou": self._untrained(residual_levels, test.labelled),
            "chance": _largest_share(_matrix(test.labelled, [one.labels for one in found])),
            "boundary": boundary_f(
                sum(
                    (
                        boundary_counts(*pair)
                        for pair in zip(_labels(test.labelled), [f.labels for f in found], strict=True)
                    ),
                    np.zeros(4, dtype=np.int64),
                )
            ),
        }
        figures |= self._spliced(segmenter)
        figures |= self._left(train, test)
        return figures

    def _untrained(self, levels: Callable[[Tensor], np.ndarray], test: LabelledImages) -> float:
        return untrained_iou(levels, test.images, test.labels.numpy(), self.val.labelled)

    def _made(self, made: MadeSet) -> dict[str, Figure]:
        turns = [turn for one in made.images for turn in one.turns]
        return {
            "made.acceptance": made.acceptance,
            "made.area": float(np.mean([turn.area for turn in turns])) if turns else None,
            "made.inside": float(np.mean([turn.changed_inside for turn in turns])) if turns else None,
        }

    def _kinds(self, segmenter: RegionNetwork, test: Split) -> dict[str, Figure]:
        """Untouched pixels of generated bases are synthetic, too: both kinds by themselves."""
        figures: dict[str, Figure] = {}
        for kind in ("real", "generated"):
            own = test.select([one.base_kind == kind for one in test.records])
            measured = figures_of(regions_of(segmenter, own.labelled.images), own.labelled, len(EDITORS))
            figures |= {f"{kind}.iou": measured.get("iou"), f"{kind}.false_edits": measured.get("false_edits")}
        return figures

    def _distorted(self, segmenter: RegionNetwork, test: LabelledImages) -> dict[str, Figure]:
        figures: dict[str, Figure] = {}
        for name, text in DISTORTED.items():
            images = Distortion.read(text).images(test.images, Randomness(self.seed).for_examples(test.ids))
            measured = figures_of(regions_of(segmenter, images), test, len(EDITORS))
            figures |= {f"{name}.{key}": measured.get(key) for key in ("iou", "binary_miou", "semantic_miou")}
        return figures

    def _whole(self, segmenter: RegionNetwork, found: list[Regions], test: Split) -> dict[str, Figure]:
        """Whole images at the threshold that validation images chose."""
        held = np.array([one.share for one in regions_of(segmenter, self.val.labelled.images)])
        threshold = best_threshold(held, self.val.labelled.edited.numpy())
        called = np.array([one.share for one in found]) >= threshold
        return {
            "image.accuracy": Sample.of(called == test.labelled.edited.numpy()),
            "image.threshold": threshold if np.isfinite(threshold) else None,
        }

    def _spliced(self, segmenter: RegionNetwork) -> dict[str, Figure]:
        """How much of a region is called edited that no editor wrote: of another photograph, or only blurred."""
        figures: dict[str, Figure] = {}
        for name, blurred in (("spliced", False), ("blurred", True)):
            images, masks = spliced(self.seed, max(8, self.size.bases // 10), blurred=blurred)
            found = regions_of(segmenter, images)
            shares = [float((one.labels[mask.numpy()] > 0).mean()) for one, mask in zip(found, masks, strict=True)]
            figures[f"{name}.found"] = Sample.of(shares)
        return figures

    def _left(self, train: Split, test: Split) -> dict[str, Figure]:
        """A second training without the images of one editor, judged on that editor's edits.

        The rival keeps its setting, which was chosen with that editor among the validation images.
        """
        known, unseen = train.without(LEFT).labelled, test.only(LEFT).labelled
        segmenter = trained_segmenter(known, self.size, self.seed + 1, self.progress)
        rival = fitted_rival(known, self.setting, self.size, self.seed + 1, self.progress)
        found = regions_of(segmenter, unseen.images)
        measured = figures_of(found, unseen, len(EDITORS))
        seen = test.without(LEFT).labelled
        return {
            "left.iou": measured.get("iou"),
            "left.seen_iou": figures_of(regions_of(segmenter, seen.images), seen, len(EDITORS)).get("iou"),
            **{
                f"left.{name.replace('image.', '')}": value
                for name, value in _whole_areas(
                    found, edited_scores(rival, unseen.images).numpy(), test.only(LEFT)
                ).items()
            },
        }


def _labels(examples: LabelledImages) -> list[np.ndarray]:
    return list(examples.labels.numpy())


def _matrix(examples: LabelledImages, predicted: list[np.ndarray]) -> np.ndarray:
    matrix = np.zeros((len(EDITORS) + 1,) * 2, dtype=np.int64)
    for truth, found in zip(_labels(examples), predicted, strict=True):
        matrix += confusion(truth, found, len(EDITORS) + 1)
    return matrix


def _whole_areas(found: list[Regions], rival: np.ndarray, split: Split) -> dict[str, Figure]:
    """Areas under the ROC curve of the segmenter, of the network and without training; real bases by themselves, too.

    All pixels of a generated base are smooth already, so that a residual finds edits among real ones more easily.
    """
    scores = {
        "image": np.array([one.share for one in found]),
        "cnn": rival,
        "residual": residual_scores(split.labelled),
    }
    real = np.array([one.base_kind == "real" for one in split.records])
    figures: dict[str, Figure] = {}
    for name, values in scores.items():
        figures[f"{name}.auroc"] = image_auroc(split.labelled, values)
        figures[f"real.{name}.auroc"] = image_auroc(split.select(real.tolist()).labelled, values[real])
    return figures


def _by_area(found: list[Regions], test: Split) -> dict[str, Figure]:
    """Share of an edit that was found, by its area: of images of one turn, whose label map is the mask."""
    single = [
        (one.turns[0].area, float((regions.labels[labels > 0] > 0).mean()))
        for one, regions, labels in zip(test.records, found, _labels(test.labelled), strict=True)
        if len(one.turns) == 1
    ]
    return {f"recall.{name}": value for name, value in area_recall(single).items()}


def _largest_share(matrix: np.ndarray) -> float | None:
    """Attribution of one who always names the most frequent editor, over the pixels that are edited and found."""
    counts = matrix[1:, 1:].sum(1)
    return float(counts.max() / counts.sum()) if counts.sum() else None
