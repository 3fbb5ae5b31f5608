"""How far maps of classes agree with the truth: counts of pixels, from which every figure follows.

Counts of images and of batches add up, so that figures over a set need no map of it in memory. Pixels of class −1 are
void and are not counted.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from snellen.core.criterion import VOID
from snellen.core.errors import InputError
from snellen.metrics.weighted import WeightedStatistic


def confusion(predicted: Tensor, truth: Tensor, class_count: int) -> NDArray[np.int64]:
    """Pixels of each image by true and predicted class: (n, h, w), (n, h, w) → (n, k, k), rows are the truth.

    >>> import torch
    >>> confusion(torch.tensor([[[0, 1]]]), torch.tensor([[[0, 0]]]), 2).tolist()
    [[[1, 1], [0, 0]]]

    Args:
        predicted: classes from 0 to k − 1.
        truth: the same, or −1.
        class_count: k.

    Raises:
        InputError: maps of other shapes, or classes that do not exist.
    """
    if predicted.shape != truth.shape or predicted.ndim != 3:
        raise InputError(f"maps are (n, h, w) both; got {tuple(predicted.shape)} and {tuple(truth.shape)}")
    first, second = (one.detach().cpu().flatten(1).long() for one in (truth, predicted))
    if bool((first < VOID).any()) or bool((first >= class_count).any()):
        raise InputError(f"true classes are {VOID} to {class_count - 1}, {VOID} for void pixels")
    if bool((second < 0).any()) or bool((second >= class_count).any()):
        raise InputError(f"predicted classes are 0 to {class_count - 1}")
    cells = class_count**2
    places = torch.arange(len(first))[:, None] * cells + first * class_count + second
    counts = torch.bincount(places[first != VOID], minlength=len(first) * cells)
    return counts.reshape(len(first), class_count, class_count).numpy()


def overlap_of_classes(counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Intersection over union of each class: counts (..., k, k) → (..., k); NaN where a class is in neither map."""
    return overlap_of_parts(overlap_parts(counts))


def overlap_parts(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """What overlaps need of counts (..., k, k): pixels right, true and decided of each class, (..., 3, k). They add up.

    >>> overlap_parts(np.array([[3, 1], [0, 4]])).tolist()
    [[3, 4], [4, 4], [3, 5]]
    """
    return np.stack([np.diagonal(counts, axis1=-2, axis2=-1), counts.sum(-1), counts.sum(-2)], -2)


def overlap_of_parts(parts: NDArray[np.floating | np.integer]) -> NDArray[np.float64]:
    """Intersection over union of each class, (..., 3, k) → (..., k); NaN where a class is in neither map."""
    both, own, given = (parts[..., place, :].astype(float) for place in range(3))
    either = own + given - both
    return np.divide(both, either, out=np.full(both.shape, np.nan), where=either > 0)


def weighted_overlap(parts: NDArray[np.integer], label: int | None = None) -> WeightedStatistic:
    """Mean overlap over the classes that occur (mIoU), or the overlap of one, as a function of the images' weights.

    >>> parts = overlap_parts(np.array([[[3, 1], [0, 4]], [[4, 0], [4, 0]]]))
    >>> round(weighted_overlap(parts)(np.array([1.0, 0.0])), 3), weighted_overlap(parts, 1)(np.array([0.0, 1.0]))
    (0.775, 0.0)

    Args:
        parts: of each image, (n, 3, k).
        label: the class; None: the mean of all.
    """
    flat = parts.reshape(len(parts), -1).astype(np.float64)

    def statistic(weights: NDArray[np.float64]) -> float:
        overlap = overlap_of_parts((weights @ flat).reshape(parts.shape[1:]))
        if label is not None:
            return float(overlap[label])
        held = overlap[np.isfinite(overlap)]
        return float(held.mean()) if len(held) else float("nan")

    return statistic


def mean_overlap(counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Mean of these over the classes that occur: mIoU, (..., k, k) → (...,); NaN where no pixel is counted.

    >>> mean_overlap(np.array([[3, 1], [0, 0]])).item()
    0.375
    """
    overlap = overlap_of_classes(counts)
    held = np.isfinite(overlap).sum(-1)
    total: NDArray[np.float64] = np.nansum(overlap, -1)
    return np.divide(total, held, out=np.full(np.shape(total), np.nan), where=held > 0)


def segmentation_figures(counts: NDArray[np.int64]) -> Mapping[str, float]:
    """mIoU, mean accuracy over the true classes, and pixel accuracy, of counts (k, k) over a set.

    >>> {name: round(value, 3) for name, value in segmentation_figures(np.array([[3, 1], [0, 4]])).items()}
    {'miou': 0.775, 'mean_accuracy': 0.875, 'pixel_accuracy': 0.875}

    Raises:
        InputError: no pixel was counted.
    """
    total = counts.sum()
    if not total:
        raise InputError("no pixel has a known class: there is nothing to measure")
    own, right = counts.sum(1), np.diagonal(counts)
    return {
        "miou": float(mean_overlap(counts)),
        "mean_accuracy": float((right[own > 0] / own[own > 0]).mean()),
        "pixel_accuracy": float(right.sum() / total),
    }
