"""The median of distances when some are only known to be larger than what was searched."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from snellen.core.errors import InputError
from snellen.metrics.clustered import clustered_share


class MedianInterval(NamedTuple):
    """A median with the ends of its interval; infinite where too few values are known to bound it."""

    value: float
    low: float
    high: float


def censored_median(values: ArrayLike, units: NDArray[np.int64] | None = None) -> MedianInterval:
    """Median of n values, infinity for those that are only known to lie beyond all others.

    The median is the smallest value that half of all do not exceed. Its 95 % interval is Woodruff's (Journal of the
    American Statistical Association 47, 1952, 635–646): the interval of the share of values up to the median
    (:func:`snellen.metrics.clustered.clustered_share`, by unit), read back into values.

    >>> [round(end, 1) for end in censored_median([0.1, 0.2, 0.3, 0.4, 0.5, math.inf])]
    [0.3, 0.2, 0.5]
    >>> censored_median([0.1, math.inf, math.inf]).value
    inf

    Args:
        values: (n,), n > 0; infinity where nothing was found.
        units: (n,), code of the unit of each; None: every image is its own unit.

    Raises:
        InputError: no values, or NaN.
    """
    numbers = np.sort(np.asarray(values, dtype=np.float64))
    if numbers.ndim != 1 or not len(numbers) or np.isnan(numbers).any():
        raise InputError(f"a median needs values (n,) with n > 0 and none NaN, got {numbers.reshape(-1)[:5].tolist()}")
    median = _quantile(numbers, 0.5)
    # Half of the values by construction; what differs between samples is how many lie below.
    below = np.zeros(len(numbers))
    below[np.argsort(np.asarray(values, dtype=np.float64), kind="stable")[: math.ceil(len(numbers) / 2)]] = 1
    low, high = clustered_share(below, units)
    return MedianInterval(median, _quantile(numbers, low), _quantile(numbers, high))


def _quantile(ordered: Sequence[float] | NDArray[np.float64], share: float) -> float:
    """The smallest value that at least this share of all do not exceed."""
    place = max(math.ceil(share * len(ordered) - 1e-9), 1)
    return float(ordered[place - 1])
