"""The regularised incomplete beta function, and the quantiles and tails that intervals and tests need of it."""

from __future__ import annotations

import math
from functools import lru_cache

_SMALLEST = 1e-300
_PRECISION = 1e-16
_LAST_BIT = 2.0**-52


def regularised_incomplete_beta(x: float, a: float, b: float) -> float:
    """I_x(a, b), the distribution function of the beta distribution with parameters a and b > 0 at x in [0, 1].

    The continued fraction of DLMF 8.17.22, evaluated by the modified method of Lentz; on the side where it converges
    fast (DLMF 8.17.4 gives the other). Accurate to about 1e-12 for parameters up to 1e6.

    >>> round(regularised_incomplete_beta(0.25, 2, 3), 12)  # 1 − (1 − x)^3 (1 + 3 x)
    0.26171875
    """
    if not (0 <= x <= 1 and a > 0 and b > 0):
        raise ValueError(f"expected x in [0, 1] and a, b > 0; got x = {x}, a = {a}, b = {b}")
    if x in (0.0, 1.0):
        return x
    if x > (a + 1) / (a + b + 2):
        return 1 - _by_fraction(1 - x, b, a)
    return _by_fraction(x, a, b)


def _by_fraction(x: float, a: float, b: float) -> float:
    logarithm = _log_beta_density(x, a, b)
    fraction, c, d = 1.0, 1.0, 0.0
    # The number of terms needed grows with the square root of the larger parameter.
    for term in range(200 + 20 * math.isqrt(int(max(a, b)) + 1)):
        m = term // 2
        if term == 0:
            numerator = 1.0
        elif term % 2 == 0:
            numerator = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        else:
            numerator = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        # Written out: a call in here would cost as much as the term.
        d = 1 + numerator * d
        d = 1 / (d if abs(d) > _SMALLEST else _SMALLEST)
        c = 1 + numerator / c
        c = c if abs(c) > _SMALLEST else _SMALLEST
        fraction *= c * d
        if abs(1 - c * d) < _PRECISION:
            break
    return math.exp(logarithm) * (fraction - 1) / a


def _log_beta_density(x: float, a: float, b: float) -> float:
    """Log of x^a (1 − x)^b / B(a, b), by deviations from the mean, so that large terms do not cancel (Loader 2000)."""
    mean = a / (a + b)
    rest = 1 - mean  # not b / (a + b): the rounding of the mean must enter both terms, where it cancels
    away = x - mean
    below = math.log1p(away / mean) if abs(away) < mean / 2 else math.log(x) - math.log(mean)
    above = math.log1p(-away / rest) if abs(away) < rest / 2 else math.log1p(-x) - math.log(rest)
    stirling = _stirling_error(a + b) - _stirling_error(a) - _stirling_error(b)
    return a * below + b * above + stirling + 0.5 * math.log(a * (b / (a + b)) / (2 * math.pi))


def _stirling_error(z: float) -> float:
    """Log Γ(z) minus Stirling's formula (z − ½) log z − z + ½ log 2π (DLMF 5.11.1)."""
    if z < 15:
        return math.lgamma(z) - (z - 0.5) * math.log(z) + z - 0.5 * math.log(2 * math.pi)
    square = z * z
    return (1 / 12 - (1 / 360 - (1 / 1260 - (1 / 1680 - 1 / (1188 * square)) / square) / square) / square) / z


def beta_quantile(probability: float, a: float, b: float) -> float:
    """The x with I_x(a, b) = probability, to about the last bit.

    Newton's method between two bounds, and a bisection where a step would leave them or steps do not get smaller.

    >>> round(beta_quantile(0.26171875, 2, 3), 12)
    0.25
    """
    if not 0 <= probability <= 1:
        raise ValueError(f"a probability lies in [0, 1], got {probability}")
    if probability in (0.0, 1.0):
        return float(probability)
    low, high, x = 0.0, 1.0, a / (a + b)
    last = before = 1.0  # sizes of the last two steps
    while low < (low + high) / 2 < high:
        excess = regularised_incomplete_beta(x, a, b) - probability
        low, high = (x, high) if excess < 0 else (low, x)
        density = math.exp(_log_beta_density(x, a, b)) / (x * (1 - x))
        step = excess / density if density > 0 else math.inf
        if abs(step) <= _LAST_BIT * x:
            return x
        middle = (low + high) / 2
        following = x - step if low < x - step < high and abs(step) < before / 2 else middle
        last, before, x = abs(following - x), last, following
    return high


# The same few levels and degrees of freedom come again and again, and a bisection is a hundred evaluations.
@lru_cache(maxsize=4096)
def student_t_quantile(probability: float, degrees_of_freedom: float) -> float:
    """Quantile of Student's t distribution.

    With X from the beta distribution with parameters ν/2 and 1/2, |t| = √(ν (1 − X) / X) (DLMF 8.17 gives the
    distribution function as I_{ν/(ν+t²)}(ν/2, 1/2) / 2 in the lower tail).

    >>> round(student_t_quantile(0.975, 4), 6)
    2.776445
    """
    if not 0 < probability < 1 or not degrees_of_freedom > 0:
        raise ValueError(
            f"expected a probability in (0, 1) and degrees of freedom > 0; got {probability} and {degrees_of_freedom}"
        )
    if probability == 0.5:
        return 0.0
    tail = 2 * min(probability, 1 - probability)
    x = beta_quantile(tail, degrees_of_freedom / 2, 0.5)
    # Of X and 1 − X, the smaller one is found directly: the other is 1 up to rounding.
    rest = 1 - x if x < 0.5 else beta_quantile(1 - tail, 0.5, degrees_of_freedom / 2)
    magnitude = math.sqrt(degrees_of_freedom * rest / (x if x < 0.5 else 1 - rest))
    return magnitude if probability > 0.5 else -magnitude


def student_t_probability(t: float, degrees_of_freedom: float) -> float:
    """P(T > t), the upper tail of Student's t distribution; of the normal distribution for infinite degrees of freedom.

    I_{ν/(ν+t²)}(ν/2, 1/2) / 2 for t > 0 (DLMF 8.17; Abramowitz and Stegun 26.7.1). Small tails keep their relative
    precision, so p values may be compared far out.

    >>> round(student_t_probability(2.776445, 4), 6)
    0.025
    >>> round(student_t_probability(1.959964, math.inf), 6)
    0.025
    """
    if math.isnan(t) or not degrees_of_freedom > 0:
        raise ValueError(f"expected a number and degrees of freedom > 0; got {t} and {degrees_of_freedom}")
    if math.isinf(degrees_of_freedom):
        return math.erfc(t / math.sqrt(2)) / 2
    if math.isinf(t):
        return 0.0 if t > 0 else 1.0
    # Near the centre ν/(ν+t²) would be rounded to 1; further out, a difference from 1 would lose the small tail.
    ratio = (t / math.sqrt(degrees_of_freedom)) * (t / math.sqrt(degrees_of_freedom))
    if abs(t) < 1:
        tail = (1 - regularised_incomplete_beta(ratio / (1 + ratio), 0.5, degrees_of_freedom / 2)) / 2
    else:
        tail = regularised_incomplete_beta(1 / (1 + ratio), degrees_of_freedom / 2, 0.5) / 2
    return tail if t >= 0 else 1 - tail
