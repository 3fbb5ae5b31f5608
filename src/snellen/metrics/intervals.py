"""Confidence intervals for shares, their differences, and means over seeds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from snellen.core.errors import InputError
from snellen.metrics.incomplete_beta import beta_quantile, student_t_quantile


class Interval(NamedTuple):
    """Lower and upper end."""

    low: float
    high: float


def wilson(successes: int, n: int, confidence: float = 0.95) -> Interval:
    """Score interval for a share (Wilson 1927): the shares that a two-sided z test would not reject.

    With p = successes / n and z the normal quantile: (p + z²/2n ± z √(p (1 − p)/n + z²/4n²)) / (1 + z²/n).

    >>> [round(end, 4) for end in wilson(8, 10)]
    [0.4902, 0.9433]

    Args:
        successes: 0 … n.
        n: trials; with none, nothing is known, and the interval is [0, 1].
        confidence: probability that the interval holds the true share (approximately, and on average over shares).

    Raises:
        InputError: counts or confidence out of range.
    """
    _check_counts(successes, n)
    z = _normal_quantile(confidence)
    if n == 0:
        return Interval(0.0, 1.0)
    share, square = successes / n, z * z / n
    centre = (share + square / 2) / (1 + square)
    half = z / (1 + square) * math.sqrt(share * (1 - share) / n + square / (4 * n))
    # At the ends the formula gives 0 and 1 up to rounding.
    return Interval(
        0.0 if successes == 0 else max(centre - half, 0.0), 1.0 if successes == n else min(centre + half, 1.0)
    )


def clopper_pearson(successes: int, n: int, confidence: float = 0.95) -> Interval:
    """Exact interval for a share (Clopper and Pearson 1934): at least ``confidence`` for every true share.

    Its ends are quantiles of beta distributions: (1 − confidence)/2 of Beta(s, n − s + 1), and (1 + confidence)/2 of
    Beta(s + 1, n − s).

    >>> [round(end, 4) for end in clopper_pearson(8, 10)]
    [0.4439, 0.9748]

    Args:
        successes: 0 … n.
        n: trials; with none, the interval is [0, 1].
        confidence: in (0, 1). For a one-sided bound of confidence c, ask for 2 c − 1 and take one end.

    Raises:
        InputError: counts or confidence out of range.
    """
    _check_counts(successes, n)
    tail = (1 - _checked(confidence)) / 2
    low = 0.0 if successes == 0 else beta_quantile(tail, successes, n - successes + 1)
    # By symmetry: the upper tail keeps its precision when the share is close to 1 or the tail is tiny.
    high = 1.0 if successes == n else 1 - beta_quantile(tail, n - successes, successes + 1)
    return Interval(low, high)


def newcombe_difference(
    first_successes: int, first_n: int, second_successes: int, second_n: int, confidence: float = 0.95
) -> Interval:
    """Interval for the difference of two independent shares, first − second (Newcombe 1998, method 10).

    With Wilson intervals [l, u] of both shares p: p₁ − p₂ − √((p₁ − l₁)² + (u₂ − p₂)²) to
    p₁ − p₂ + √((u₁ − p₁)² + (p₂ − l₂)²).

    >>> [round(end, 4) for end in newcombe_difference(56, 70, 48, 80)]  # example (a) of the paper
    [0.0524, 0.3339]

    Raises:
        InputError: counts or confidence out of range.
    """
    first, second = wilson(first_successes, first_n, confidence), wilson(second_successes, second_n, confidence)
    if not first_n or not second_n:
        return Interval(-1.0, 1.0)
    p, q = first_successes / first_n, second_successes / second_n
    return Interval(
        p - q - math.hypot(p - first.low, second.high - q), p - q + math.hypot(first.high - p, q - second.low)
    )


def paired_difference(only_first: int, only_second: int, n: int, confidence: float = 0.95) -> Interval:
    """Interval for the difference of two shares measured on the same examples, first − second.

    The adjusted Wald interval "Wald+2" of Agresti and Min (Statistics in Medicine 24, 2005, 729–740): the Wald interval
    after adding ½ to each of the four cells of the paired table. With b = only_first, c = only_second and N = n + 2:
    d = (b − c)/N, and d ± z √((b + c + 1) − (b − c)²/N) / N, cut to [−1, 1].

    >>> [round(end, 4) for end in paired_difference(12, 4, 100)]
    [0.0007, 0.1562]

    Args:
        only_first: examples that succeed under the first condition only.
        only_second: examples that succeed under the second condition only.
        n: all examples, those included that succeed or fail under both; with none, the interval is [−1, 1].
        confidence: in (0, 1).

    Raises:
        InputError: counts or confidence out of range.
    """
    if min(only_first, only_second) < 0 or only_first + only_second > n:
        raise InputError(f"{only_first} and {only_second} discordant examples of {n} are no paired table")
    z = _normal_quantile(confidence)
    if n == 0:
        return Interval(-1.0, 1.0)
    total, difference = n + 2, only_first - only_second
    half = z * math.sqrt(only_first + only_second + 1 - difference**2 / total) / total
    return Interval(max(difference / total - half, -1.0), min(difference / total + half, 1.0))


def mean_interval(values: Sequence[float] | NDArray[np.floating], confidence: float = 0.95) -> Interval:
    """Student's t interval for a mean of independent values, such as a figure over seeds.

    mean ± t √(variance / n), with n − 1 degrees of freedom and the unbiased variance. A single value says nothing about
    its spread: the interval is then (−∞, ∞).

    >>> [round(end, 4) for end in mean_interval([1.0, 2.0, 3.0])]
    [-0.4841, 4.4841]

    Raises:
        InputError: no values, values that are not finite, or confidence out of range.
    """
    numbers = np.asarray(values, dtype=np.float64).reshape(-1)
    probability = (1 + _checked(confidence)) / 2
    if not len(numbers) or not np.isfinite(numbers).all():
        raise InputError(f"the interval of a mean needs finite values, got {numbers[:5].tolist()}")
    if len(numbers) == 1:
        return Interval(-math.inf, math.inf)
    mean = float(numbers.mean())
    half = student_t_quantile(probability, len(numbers) - 1) * float(numbers.std(ddof=1)) / math.sqrt(len(numbers))
    return Interval(mean - half, mean + half)


def _checked(confidence: float) -> float:
    if not 0 < confidence < 1:
        raise InputError(f"confidence lies strictly between 0 and 1, got {confidence}")
    return confidence


def _normal_quantile(confidence: float) -> float:
    return -NormalDist().inv_cdf((1 - _checked(confidence)) / 2)


def _check_counts(successes: int, n: int) -> None:
    if not 0 <= successes <= n:
        raise InputError(f"{successes} successes of {n} trials are impossible")
