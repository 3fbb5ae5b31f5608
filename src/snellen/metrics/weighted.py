"""Figures as functions of the images' weights: all that does not depend on the weights is done once.

A bootstrap computes the same figure a thousand times, on the same images with other weights. Sorting scores or sorting
confidences into bins is then needed once and not a thousand times.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from snellen.core.errors import InputError

#: A figure of n images as a function of their weights, float64 (n,), zero or more.
WeightedStatistic = Callable[[NDArray[np.float64]], float]


def weighted_mean(values: ArrayLike) -> WeightedStatistic:
    """Mean of a value per image, such as accuracy.

    >>> weighted_mean([1, 0, 0])(np.array([2.0, 1.0, 1.0]))
    0.5

    Raises:
        InputError: values that are not (n,) or not finite.
    """
    numbers = _finite(values)

    def statistic(weights: NDArray[np.float64]) -> float:
        return _ratio(float(weights @ numbers), float(weights.sum()))

    return statistic


def weighted_balanced_accuracy(labels: ArrayLike, correct: ArrayLike) -> WeightedStatistic:
    """Mean recall over the classes that have weight.

    >>> weighted_balanced_accuracy([0, 0, 1], [True, False, True])(np.ones(3))
    0.75

    Args:
        labels: integers (n,), zero or more.
        correct: (n,), bool or 0/1.

    Raises:
        InputError: wrong shapes or values.
    """
    truth, right = np.asarray(labels), _finite(correct)
    if truth.shape != right.shape or (len(truth) and (truth.dtype.kind not in "iu" or truth.min() < 0)):
        raise InputError(f"labels must be integers (n,), zero or more, for {len(right)} decisions; got {truth.shape}")
    classes = int(truth.max(initial=-1)) + 1

    def statistic(weights: NDArray[np.float64]) -> float:
        support = np.bincount(truth, weights, classes)
        recognised = np.bincount(truth, weights * right, classes)
        present = support > 0
        return float((recognised[present] / support[present]).mean()) if present.any() else float("nan")

    return statistic


def weighted_calibration_error(confidence: ArrayLike, correct: ArrayLike, bins: int = 15) -> WeightedStatistic:
    """Expected calibration error in bins of equal width, as :class:`snellen.metrics.calibration.ReliabilityBins`.

    >>> weighted_calibration_error([0.5, 1.0], [True, True], bins=2)(np.ones(2))
    0.25

    Args:
        confidence: (n,) in [0, 1].
        correct: (n,), bool or 0/1.
        bins: how many.

    Raises:
        InputError: wrong shapes or values.
    """
    sure, right = _finite(confidence), _finite(correct)
    if bins < 1 or sure.shape != right.shape or not ((sure >= 0) & (sure <= 1)).all():
        raise InputError(
            f"confidences in [0, 1], a decision for each, and at least one bin are needed; got {sure.shape}, "
            f"{right.shape} and {bins}"
        )
    place = np.searchsorted(np.arange(1, bins + 1) / bins, sure, side="left")
    excess = right - sure

    def statistic(weights: NDArray[np.float64]) -> float:
        gaps = np.bincount(place, weights * excess, bins)
        return _ratio(float(np.abs(gaps).sum()), float(weights.sum()))

    return statistic


def weighted_auroc(labels: ArrayLike, scores: ArrayLike) -> WeightedStatistic:
    """Area under the ROC curve, ties counted half, as :func:`snellen.metrics.auroc.auroc`; NaN without both classes.

    >>> weighted_auroc([0, 0, 1, 1], [0.1, 0.4, 0.4, 0.8])(np.ones(4))
    0.875

    Args:
        labels: (n,), bool or 0/1.
        scores: (n,), higher for positives.

    Raises:
        InputError: wrong shapes or values.
    """
    truth, values = _finite(labels), np.asarray(scores, dtype=np.float64)
    if truth.shape != values.shape or not np.isin(truth, (0, 1)).all() or np.isnan(values).any():
        raise InputError(f"expected labels 0 or 1 and scores that are numbers, got {truth.shape} and {values.shape}")
    positive, negative = np.flatnonzero(truth == 1), np.flatnonzero(truth == 0)
    negative = negative[np.argsort(values[negative], kind="stable")]
    below = np.searchsorted(values[negative], values[positive], side="left")
    not_above = np.searchsorted(values[negative], values[positive], side="right")

    def statistic(weights: NDArray[np.float64]) -> float:
        ranked = np.concatenate([[0.0], np.cumsum(weights[negative])])
        own = weights[positive]
        return _ratio(float(own @ (ranked[below] + ranked[not_above])), 2 * float(own.sum()) * float(ranked[-1]))

    return statistic


def weighted_macro_auroc(labels: ArrayLike, scores: ArrayLike) -> WeightedStatistic:
    """Mean area of each class against all others, over the classes that have one.

    As :func:`snellen.metrics.auroc.macro_auroc`.

    >>> weighted_macro_auroc([0, 1, 1], [[0.7, 0.3], [0.2, 0.8], [0.8, 0.2]])(np.ones(3))
    0.5

    Args:
        labels: integers (n,) in 0 … k−1.
        scores: (n, k).

    Raises:
        InputError: wrong shapes or values.
    """
    truth, values = np.asarray(labels), np.asarray(scores, dtype=np.float64)
    if truth.ndim != 1 or values.ndim != 2 or len(truth) != len(values):
        raise InputError(f"expected labels (n,) and scores (n, k), got {truth.shape} and {values.shape}")
    areas = [weighted_auroc(truth == one, values[:, one]) for one in range(values.shape[1])]

    def statistic(weights: NDArray[np.float64]) -> float:
        measured = [area for one in areas if not np.isnan(area := one(weights))]
        return float(np.mean(measured)) if measured else float("nan")

    return statistic


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole > 0 else float("nan")


def _finite(values: ArrayLike) -> NDArray[np.float64]:
    numbers = np.asarray(values, dtype=np.float64)
    if numbers.ndim != 1 or not np.isfinite(numbers).all():
        raise InputError(f"expected finite values (n,), got {numbers.shape} {numbers.reshape(-1)[:5].tolist()}")
    return numbers


def weighted_adaptive_calibration_error(confidence: ArrayLike, correct: ArrayLike, bins: int = 15) -> WeightedStatistic:
    """Calibration error in bins of equal mass, with weights.

    As :func:`snellen.metrics.calibration.adaptive_calibration_error`. Bins follow the weights, so that those
    of a resample hold equal numbers of its images.

    >>> round(weighted_adaptive_calibration_error([0.5, 0.7, 0.8, 1.0], [0, 1, 1, 1], bins=2)(np.ones(4)), 4)
    0.1

    Args:
        confidence: (n,) in [0, 1].
        correct: (n,), bool or 0/1.
        bins: how many.

    Raises:
        InputError: wrong shapes or values.
    """
    sure, right = np.asarray(confidence, dtype=np.float64), np.asarray(correct, dtype=np.float64)
    if bins < 1 or sure.ndim != 1 or sure.shape != right.shape or not ((sure >= 0) & (sure <= 1)).all():
        raise InputError(
            f"confidences (n,) in [0, 1], a decision for each, and at least one bin are needed; got {sure.shape}, "
            f"{right.shape} and {bins}"
        )
    distinct, place = np.unique(sure, return_inverse=True)
    excess = right - sure

    def statistic(weights: NDArray[np.float64]) -> float:
        mass = np.bincount(place, weights, len(distinct))
        total = float(mass.sum())
        if not total > 0:
            return float("nan")
        middle = 2 * np.cumsum(mass) - mass
        bin_of = np.minimum((middle * bins // (2 * total)).astype(np.int64), bins - 1)
        gaps = np.bincount(bin_of, np.bincount(place, weights * excess, len(distinct)), bins)
        return float(np.abs(gaps).sum() / total)

    return statistic


def weighted_kolmogorov_distance(first: ArrayLike, second: ArrayLike) -> WeightedStatistic:
    """Largest difference of two distribution functions (Kolmogorov and Smirnov), by the weights of both sets.

    >>> round(weighted_kolmogorov_distance([0, 1, 2, 3], [1, 2, 3, 4])(np.ones(8)), 3)
    0.25

    Args:
        first: values (n,); weights are given for these, then for the second ones.
        second: values (m,).

    Raises:
        InputError: values that are not finite.
    """
    before, after = _finite(first), _finite(second)
    values = np.concatenate([before, after])
    order = np.argsort(values, kind="stable")
    later = order >= len(before)
    last = np.append(np.diff(values[order]) > 0, True)  # of equal values the last one has counted all of them

    def statistic(weights: NDArray[np.float64]) -> float:
        sums = [np.cumsum(np.where(side, weights[order], 0.0)) for side in (~later, later)]
        if not (sums[0][-1] > 0 and sums[1][-1] > 0):
            return float("nan")
        return float(np.abs(sums[0] / sums[0][-1] - sums[1] / sums[1][-1])[last].max())

    return statistic


def weighted_total_variation(first: ArrayLike, second: ArrayLike) -> WeightedStatistic:
    """Share of images that would have to change class for both sets to have the same shares, by the weights of both.

    >>> round(weighted_total_variation([0, 0, 1], [0, 1, 1])(np.ones(6)), 3)
    0.333

    Args:
        first: classes (n,), as any numbers; weights are given for these, then for the second ones.
        second: classes (m,).

    Raises:
        InputError: values that are not finite.
    """
    before, after = _finite(first), _finite(second)
    codes = np.unique(np.concatenate([before, after]), return_inverse=True)[1]
    classes, n = int(codes.max(initial=-1)) + 1, len(before)

    def statistic(weights: NDArray[np.float64]) -> float:
        counts = [np.bincount(codes[part], weights[part], classes) for part in (slice(None, n), slice(n, None))]
        if not (counts[0].sum() > 0 and counts[1].sum() > 0):
            return float("nan")
        return float(np.abs(counts[0] / counts[0].sum() - counts[1] / counts[1].sum()).sum() / 2)

    return statistic
