"""Thresholds of the filter where nobody has labelled generated images.

The published thresholds were set so that each removes 90 % of the images that people saw to be out of their class. Here
images of *other* classes stand for those: each trajectory is scored as if it were of another class, with the words of
that class and, as its reference, the image that a trajectory of that class begins with.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from snellen.core.errors import InputError
from snellen.systems.continuous_nuisance.filter_scores import CLASS_TEXT, SHIFT_TEXT, FilterEncoders, filter_scores
from snellen.systems.continuous_nuisance.filtering import SCORES, threshold_removing


def thresholds_of_others(
    encoders: FilterEncoders,
    images: Mapping[str, Tensor],
    class_names: Sequence[str],
    *,
    share: float = 0.9,
    class_text: str = CLASS_TEXT,
    shift_text: str = SHIFT_TEXT,
) -> dict[str, float]:
    """A threshold for each score that removes a share of trajectories that are scored as another class.

    Args:
        encoders: who scores.
        images: trajectories by the words of their shift, float32 (n, strengths, 3, h, w) in [0, 1] each.
        class_names: words of the class of each of the n trajectories, of two classes at least.
        share: to remove.
        class_text: see :func:`~snellen.systems.continuous_nuisance.filter_scores.filter_scores`.
        shift_text: likewise.

    Raises:
        InputError: one class alone, or scores that are not finite.
    """
    others = [_another(row, class_names) for row in range(len(class_names))]
    found: dict[str, list[float]] = {name: [] for name in SCORES}
    for words, trajectories in images.items():
        mixed = torch.cat([trajectories[others, :1], trajectories[:, 1:]], 1)
        scores = filter_scores(
            encoders, mixed, [class_names[other] for other in others], words,
            class_text=class_text, shift_text=shift_text,
        )  # fmt: skip
        for name, values in scores.items():
            found[name] += values[:, 1:].ravel().tolist()
    return {name: threshold_removing(np.array(values), share) for name, values in found.items()}


def _another(row: int, class_names: Sequence[str]) -> int:
    """The next trajectory of another class; the last ones begin again."""
    count = len(class_names)
    for step in range(1, count):
        if class_names[(row + step) % count] != class_names[row]:
            return (row + step) % count
    raise InputError(
        f"thresholds without labels come from images of other classes, and there is {class_names[row]!r} alone: name "
        f"another class, give thresholds, or do not filter"
    )
