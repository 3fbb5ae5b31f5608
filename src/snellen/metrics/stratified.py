"""Intervals for means of means of strata, such as a balanced accuracy over classes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from snellen.core.errors import InputError
from snellen.metrics.clustered import clustered_mean


def stratified_interval(
    values: NDArray[np.float64],
    strata: NDArray[np.int64],
    units: NDArray[np.int64] | None = None,
    confidence: float = 0.95,
) -> tuple[float, float, float]:
    """Mean of the means of strata with its interval over independent units: values (n,) → (mean, low, high).

    The variance is that of Σ_i w_i (value_i − mean of its stratum) with w_i = n / (strata · size of its stratum), and
    with one unit more of value 1 and one of −1, so that twelve right images do not prove that all are. A stratum of
    one image has no spread of its own: it takes the variance within the others; if all are of one image, the interval
    is (−∞, ∞).

    >>> mean, low, high = stratified_interval(np.array([1.0, 1, 1, 0, 0, 1]), np.array([0, 0, 0, 0, 1, 1]))
    >>> mean, round(low, 3), round(high, 3)
    (0.625, -0.068, 1.318)

    Args:
        values: (n,), finite.
        strata: (n,), the stratum of each.
        units: (n,), code of each image's unit; None when each is its own.
        confidence: in (0, 1), two-sided.

    Raises:
        InputError: no values, values that are not finite, or not as many strata.
    """
    if not len(values) or len(values) != len(strata) or not np.isfinite(values).all():
        raise InputError(f"{len(values)} values came with {len(strata)} strata; both are needed, and finite values")
    _, codes, sizes = np.unique(strata, return_inverse=True, return_counts=True)
    means = np.bincount(codes, values) / sizes
    weights = len(values) / (len(sizes) * sizes)
    deviations = values - means[codes]
    squares = np.bincount(codes, deviations**2)
    spread = sizes > 1
    pooled = float(squares[spread].sum() / (sizes[spread] - 1).sum()) if spread.any() else float("nan")
    mean = float(means.mean())
    if not spread.any():
        return mean, -np.inf, np.inf
    # Unbiased within each stratum, as the sum of squares over n − 1 is.
    factors = np.where(spread, np.sqrt(sizes / np.maximum(sizes - 1, 1)), 0.0)
    found = clustered_mean(weights[codes] * factors[codes] * deviations, units, pseudo_units=1.0)
    alone = pooled * float(((weights[~spread] / len(values)) ** 2).sum())
    scale = np.sqrt(1 + alone / found.standard_error**2) if found.standard_error else 1.0
    half = (found.interval(confidence).high - found.value) * scale
    return mean, float(mean - half), float(mean + half)
