"""Whether one model is worse than another by less than a margin: score tests of shares, paired and apart.

The hypothesis is "the later share is less than the earlier one by the margin or more". A test that takes the variance
as it was seen errs too often where few decisions differ: at a level of 2.5 % in up to 6 % of cases (300 images, 2 % of
them lost and none gained). Score tests take the variance that the hypothesis itself implies. By summation over all
outcomes, the paired one errs in at most 2.6 % (margins from half a point to five points, 100 to 2,000 images).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from snellen.core.errors import InputError
from snellen.metrics.incomplete_beta import student_t_probability, student_t_quantile
from snellen.metrics.unit_jackknife import design_effect, effective_units
from snellen.metrics.units import dense_codes

#: Level of the test: one-sided, an end of a 95 % interval.
LEVEL = 0.025


@dataclass(frozen=True)
class Worsening:
    """Later share − earlier share, and how surely it lies above −margin.

    Attributes:
        difference: the estimate.
        low: one-sided 97.5 % lower bound, from the same test: above −margin just when the test rejects at 2.5 %.
        high: one-sided 97.5 % upper bound.
        p_value: of "worse by the margin or more".
    """

    difference: float
    low: float
    high: float
    p_value: float


def paired_worsening(
    first: NDArray[np.float64], second: NDArray[np.float64], margin: float, units: NDArray[np.int64] | None = None
) -> Worsening:
    """Test shares on the same images (Tango, Statistics in Medicine 17, 1998, 891–908).

    z = (c − b + n m) / √(n d (ψ̃ − m²)), where b and c count the images on which only the earlier or only the later
    model is right, and ψ̃ is the most likely share of both under the hypothesis. Images in units have the design effect
    d of their differences and Student's t with as many degrees of freedom as effective units; d is 1 without units.

    >>> before, after = np.ones(1000), np.ones(1000)
    >>> before[:30], after[20:50] = 0, 0
    >>> found = paired_worsening(before, after, 0.02)
    >>> found.difference, round(found.low, 4), round(found.p_value, 4)
    (0.0, -0.0129, 0.0019)

    Args:
        first: (n,), 0 or 1, of the earlier model. second: (n,), of the later one. margin: m, in (0, 1).
        units: (n,), code of the unit of each image; None: each is its own.

    Raises:
        InputError: no images, other values than 0 and 1, or a margin out of range.
    """
    _check(margin, first, second)
    if len(first) != len(second):
        raise InputError(f"paired decisions are on the same images, got {len(first)} and {len(second)}")
    n = len(first)
    only_first, only_second = float(((first == 1) & (second == 0)).sum()), float(((first == 0) & (second == 1)).sum())
    effect, degrees = 1.0, math.inf
    if units is not None and len(np.unique(units)) < n:
        codes = dense_codes(units, n)
        effect = design_effect(second - first, codes)
        degrees = max(effective_units(np.bincount(codes).astype(np.float64)) - 1, 1.0)

    def score(difference: float) -> float:
        disagreement = restricted_disagreement(only_first, only_second, n, difference)
        variance = n * effect * (disagreement - difference**2)
        return _ratio(only_second - only_first - n * difference, variance)

    return _worsening((only_second - only_first) / n, score, margin, degrees)


def unpaired_worsening(
    first: NDArray[np.float64],
    second: NDArray[np.float64],
    margin: float,
    first_units: NDArray[np.int64] | None = None,
    second_units: NDArray[np.int64] | None = None,
) -> Worsening:
    """Test shares on different images (Farrington and Manning, Statistics in Medicine 9, 1990, 1447–1454).

    >>> first, second = np.repeat([1.0, 0.0], [900, 100]), np.repeat([1.0, 0.0], [900, 100])
    >>> found = unpaired_worsening(first, second, 0.02)
    >>> round(found.low, 4), round(found.p_value, 3)
    (-0.0264, 0.069)

    Args:
        first: (n,), 0 or 1, of the earlier model. second: (m,), of the later one. margin: in (0, 1).
        first_units: (n,), unit of each image. second_units: (m,); with units, each number of images counts as what it
            is worth.

    Raises:
        InputError: as :func:`paired_worsening`.
    """
    _check(margin, first, second)
    counts, shares, degrees = [], [], []
    for values, units in ((first, first_units), (second, second_units)):
        codes = dense_codes(units, len(values))
        sizes = np.bincount(codes).astype(np.float64)
        counts.append(len(values) / design_effect(values, codes))
        degrees.append(effective_units(sizes) - 1 if len(sizes) < len(values) else math.inf)
        shares.append(float(values.mean()))

    def score(difference: float) -> float:
        later = _restricted_share(shares, counts, difference)
        earlier = later - difference
        variance = later * (1 - later) / counts[1] + earlier * (1 - earlier) / counts[0]
        return _ratio(shares[1] - shares[0] - difference, variance)

    return _worsening(shares[1] - shares[0], score, margin, max(min(degrees), 1.0))


def restricted_disagreement(only_first: float, only_second: float, n: float, difference: float) -> float:
    """Most likely share of images on which just one of two models is right, where shares differ by ``difference``.

    With q the probability that only the earlier model is right, q + δ that only the later one is, the likelihood is
    b log q + c log(q + δ) + (n − b − c) log(1 − 2q − δ); its derivative is a quadratic in q.

    >>> round(restricted_disagreement(30, 30, 1000, 0.0), 4), round(restricted_disagreement(30, 30, 1000, -0.02), 4)
    (0.06, 0.0657)

    Args:
        only_first: b. only_second: c. n: images. difference: δ, in (−1, 1).
    """
    both = only_first + only_second
    square = -2.0 * n
    linear = both * (1 - difference) - 2 * only_first * difference - 2 * (n - both) * difference
    constant = only_first * difference * (1 - difference)
    root = math.sqrt(max(linear * linear - 4 * square * constant, 0.0))
    least, most = max(0.0, -difference), (1 - difference) / 2
    share = min(max((-linear - root) / (2 * square), least), most)
    return 2 * share + difference


def _restricted_share(shares: list[float], counts: list[float], difference: float) -> float:
    """Most likely later share where it is ``difference`` more than the earlier one: the root of a cubic.

    Farrington and Manning's appendix, with the later share as theirs of the first group.
    """
    later, earlier = shares[1], shares[0]
    ratio = counts[0] / counts[1]
    a, total = 1 + ratio, later + ratio * earlier
    b = -(1 + ratio + total + difference * (ratio + 2))
    c = difference**2 + difference * (2 * later + ratio + 1) + total
    d = -later * difference * (1 + difference)
    v = b**3 / (3 * a) ** 3 - b * c / (6 * a**2) + d / (2 * a)
    u = math.copysign(math.sqrt(max(b**2 / (3 * a) ** 2 - c / (3 * a), 0.0)), v)
    angle = 0.0 if u == 0 else (math.pi + math.acos(min(max(v / u**3, -1.0), 1.0))) / 3
    found = 2 * u * math.cos(angle) - b / (3 * a)
    return min(max(found, max(difference, 0.0)), min(1.0, 1 + difference))


def _worsening(difference: float, score: Callable[[float], float], margin: float, degrees: float) -> Worsening:
    def tail(statistic: float) -> float:
        if math.isinf(statistic):
            return 0.0 if statistic > 0 else 1.0
        return student_t_probability(statistic, min(degrees, 1e9))

    bar = student_t_quantile(1 - LEVEL, min(degrees, 1e9))
    # Differences that the test would not reject end where the score passes the quantile; it falls as they rise.
    low = _root(lambda at: score(at) - bar, -1.0, difference)
    high = _root(lambda at: score(at) + bar, difference, 1.0)
    return Worsening(difference, low, high, tail(score(-margin)))


def _root(falling: Callable[[float], float], low: float, high: float) -> float:
    edge = 1e-9
    low, high = max(low, -1 + edge), min(high, 1 - edge)
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if falling(middle) > 0 else (low, middle)
    return (low + high) / 2


def _ratio(distance: float, variance: float) -> float:
    if variance <= 0:
        return math.copysign(math.inf, distance) if distance else 0.0
    return distance / math.sqrt(variance)


def _check(margin: float, *values: NDArray[np.float64]) -> None:
    if not 0 < margin < 1:
        raise InputError(f"a margin lies strictly between 0 and 1 (0.01 is one point), got {margin:g}")
    for one in values:
        if one.ndim != 1 or not len(one) or not np.isin(one, (0, 1)).all():
            raise InputError(f"decisions are 0 or 1, one for each image, got {one.reshape(-1)[:5].tolist()}")
