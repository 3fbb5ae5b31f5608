"""Adaptive calibration error as a function of the images' weights: confidences are sorted once."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from snellen.core.errors import InputError
from snellen.metrics.weighted import WeightedStatistic


def weighted_adaptive_calibration_error(confidence: ArrayLike, correct: ArrayLike, bins: int = 15) -> WeightedStatistic:
    """Calibration error in bins of equal mass, with weights.

    As :func:`snellen.metrics.adaptive_calibration.adaptive_calibration_error`. Bins follow the weights, so that those
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
