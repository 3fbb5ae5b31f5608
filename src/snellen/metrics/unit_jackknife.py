"""What leaving out one unit does to a mean: the variance of means over images that come in units, and its excess."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray


def unit_sums(
    values: NDArray[np.float64], codes: NDArray[np.int64], count: int = 0
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Sum of the values of each unit, and how many there are.

    >>> [part.tolist() for part in unit_sums(np.array([1.0, 0.0, 1.0]), np.array([0, 1, 0]))]
    [[2.0, 0.0], [2.0, 1.0]]

    Args:
        values: (n,).
        codes: (n,), unit of each, zero or more.
        count: at least so many units; those without values get zeros.
    """
    sums = np.bincount(codes, values, minlength=count).astype(np.float64)
    return sums, np.bincount(codes, minlength=count).astype(np.float64)


def unit_influence(sums: NDArray[np.float64], sizes: NDArray[np.float64], mean: float) -> NDArray[np.float64]:
    """How far each of G units moves the mean, by leaving it out: √((G − 1)/G) (S_u − mean · n_u) / (N − n_u).

    The squares sum to the variance of the delete-one-unit jackknife of the ratio Σ S_u / Σ n_u (Efron and Stein 1981;
    for units of unequal size, MacKinnon, Nielsen and Webb, Journal of Applied Econometrics 38, 2023, 671–694).

    >>> unit_influence(np.array([2.0, 0.0]), np.array([2.0, 2.0]), 0.5).round(4).tolist()
    [0.3536, -0.3536]

    Args:
        sums: (G,), S_u.
        sizes: (G,), n_u; units of size zero are none.
        mean: Σ S_u / Σ n_u.

    Returns:
        (G,); infinite for the only unit there is.
    """
    present = np.count_nonzero(sizes)
    if present < 2:
        return np.where(sizes > 0, math.inf, 0.0)
    return math.sqrt((present - 1) / present) * (sums - mean * sizes) / (sizes.sum() - sizes)


def effective_units(sizes: NDArray[np.float64]) -> float:
    """How many units of equal size say as much as these: (Σ n_u)² / Σ n_u² (Kish, Survey Sampling, 1965).

    >>> effective_units(np.array([8.0, 8.0, 0.0])), effective_units(np.array([6.0, 1.0, 1.0])).__round__(2)
    (2.0, 1.68)
    """
    return float(sizes.sum() ** 2 / (sizes**2).sum())


def design_effect(values: NDArray[np.float64], codes: NDArray[np.int64]) -> float:
    """How many dependent images say as much as an independent one, never below 1.

    d = (V + c) / (B + 1): V is the jackknife's variance of the sum of the values, B its unbiased value for independent
    images, and c = Σ n_u² / n the design effect of units whose images are all alike. The added terms are one image's
    worth of belief that images of a unit are alike. V / B alone is unknown while all values are equal, and far too
    small while few differ; and it is often below 1 by chance when units are few. Units of one image have d = 1 exactly.

    >>> design_effect(np.array([1.0, 0.0, 1.0, 1.0]), np.arange(4))
    1.0
    >>> design_effect(np.ones(16), np.repeat([0, 1], 8))  # nothing but the belief
    8.0

    Args:
        values: (n,), n > 0, in [−1, 1].
        codes: (n,), unit of each, zero or more.
    """
    n, mean = len(values), float(values.mean())
    sums, sizes = unit_sums(values, codes)
    alike = float((sizes**2).sum()) / n
    if alike in (1, n):  # units of one image, or a single unit
        return alike
    dependent = float((unit_influence(sums, sizes, mean) ** 2).sum()) * n * n
    independent = float(((values - mean) ** 2).sum()) * n / (n - 1)
    return max((dependent + alike) / (independent + 1), 1.0)
