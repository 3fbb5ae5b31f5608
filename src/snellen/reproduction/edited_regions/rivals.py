"""Classifiers of whole images that the segmenter is compared with: a tuned network, and a score without training."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from snellen.core.progress import Progress
from snellen.metrics.auroc import auroc
from snellen.reproduction.edited_regions.materials import Size
from snellen.systems.edited_regions.distortions import residual_score
from snellen.systems.edited_regions.fitting import LabelledImages
from snellen.systems.edited_regions.whole_image import (
    POOLINGS,
    Pooling,
    WholeImageNetwork,
    edited_scores,
    fit_whole_image,
)

#: Peaks of the learning rate that validation images choose between; the second is that of the segmenter.
LEARNING_RATES = (1e-3, 4e-3, 1.2e-2)


def image_auroc(examples: LabelledImages, scores: NDArray[np.floating]) -> float | None:
    """Area under the ROC curve of scores of whole images; None where all are of one kind."""
    edited = examples.edited.numpy()
    return auroc(edited, scores) if len(edited) and edited.any() and not edited.all() else None


def residual_scores(examples: LabelledImages) -> NDArray[np.float64]:
    """The score without training of each image, (n,)."""
    return np.array([residual_score(one) for one in examples.images])


@dataclass(frozen=True)
class Setting:
    """What validation images choose of a whole-image network."""

    learning_rate: float
    pooling: Pooling


def fitted_rival(
    train: LabelledImages, setting: Setting, size: Size, seed: int, progress: Progress, *, epochs: int | None = None
) -> WholeImageNetwork:
    """A whole-image network of the segmenter's images and steps, or of fewer passes."""
    changes = {"learning_rate": setting.learning_rate, "epochs": epochs or size.epochs}
    plan = size.plan(seed).model_copy(update=changes)
    return fit_whole_image(train, plan=plan, width=size.width, pooling=setting.pooling, progress=progress)


def chosen_setting(train: LabelledImages, val: LabelledImages, size: Size, seed: int, progress: Progress) -> Setting:
    """The best setting on validation images after a quarter of the passes; of equal ones the first.

    First the learning rate is chosen with the first pooling, then the pooling with that rate.
    """

    def area(setting: Setting) -> float:
        network = fitted_rival(train, setting, size, seed, progress, epochs=max(1, size.epochs // 4))
        found = image_auroc(val, edited_scores(network, val.images).numpy())
        return -1.0 if found is None else found

    areas = {one: area(one) for one in (Setting(rate, POOLINGS[0]) for rate in LEARNING_RATES)}
    rate = max(areas, key=lambda one: areas[one]).learning_rate
    areas |= {one: area(one) for one in (Setting(rate, pooling) for pooling in POOLINGS[1:])}
    return max(areas, key=lambda one: areas[one])
