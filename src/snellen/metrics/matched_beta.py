"""Interval of a mean loss in [0, 1] with a known variance: skewed where losses are rare, never nil."""

from __future__ import annotations

import math
from statistics import NormalDist

from snellen.core.errors import InputError
from snellen.metrics.incomplete_beta import beta_quantile, student_t_quantile
from snellen.metrics.intervals import Interval

#: Shapes of the beta distribution below which its quantiles are 0 or 1 in double precision.
_SMALLEST_SHAPE = 1e-3


def matched_beta_interval(
    value: float, variance: float, *, added: float, degrees: float = math.inf, confidence: float = 0.95
) -> Interval:
    """Interval of a mean in [0, 1] by beta distributions that have its mean and variance.

    The lower end is a quantile of the beta distribution with mean v and variance s², the upper one that of mean v + w
    and variance s² + w², where w is what one more image of large loss would add to the mean. For weighted counts of
    rare events this is the interval of Fay and Feuer (Statistics in Medicine 16, 1997, 791–801) with beta in place of
    gamma distributions, and for shares close to that of Korn and Graubard (Survey Methodology 24, 1998, 193–201), from
    whom the correction for few units is: the effective number v (1 − v)/s² − 1 is multiplied by (z/t)², the squared
    ratio of the quantiles of the normal and of Student's distribution.

    >>> [round(end, 3) for end in matched_beta_interval(0.0, 0.0, added=1 / 30)]
    [0.0, 0.123]
    >>> [round(end, 3) for end in matched_beta_interval(0.2, 0.2 * 0.8 / 100, added=1 / 100)]
    [0.128, 0.296]

    Args:
        value: the mean v, in [0, 1]; 0 has the lower end 0.
        variance: s², of the mean.
        added: w, above 0: a hundredth for a hundred images of loss 1 at most.
        degrees: of freedom that the variance has.
        confidence: in (0, 1).

    Returns:
        Ends in [0, 1] that enclose the value; [0, 1] where no degree of freedom is left.

    Raises:
        InputError: value, variance, added or confidence out of range.
    """
    if not 0 <= value <= 1 or not 0 <= variance < math.inf or not added > 0 or not 0 < confidence < 1:
        raise InputError(
            f"expected a mean in [0, 1], a variance, an added loss above 0 and a confidence in (0, 1); got {value}, "
            f"{variance}, {added} and {confidence}"
        )
    if not degrees > 0:
        return Interval(0.0, 1.0)
    tail = (1 + confidence) / 2
    fewer = 1.0
    if math.isfinite(degrees):
        fewer = (NormalDist().inv_cdf(tail) / student_t_quantile(tail, degrees)) ** 2
    # A mean of 1 is as uncertain downwards as one of 0 is upwards.
    low = _quantile(1 - tail, min(value, 1 - added), variance + (added * value) ** 2, fewer)
    high = _quantile(tail, value + added, variance + added**2, fewer)
    return Interval(min(low, value), max(high, value))


def _quantile(probability: float, mean: float, variance: float, fewer: float) -> float:
    if mean <= 0:
        return 0.0
    if mean >= 1:
        return 1.0
    if variance == 0:
        return mean
    number = max(mean * (1 - mean) / variance - 1, _SMALLEST_SHAPE) * fewer
    first, second = number * mean, number * (1 - mean)
    if min(first, second) < _SMALLEST_SHAPE:
        return float(probability > 0.5)
    return beta_quantile(probability, first, second)
