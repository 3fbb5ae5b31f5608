"""The regularised incomplete beta function, and the quantiles and tails that intervals and tests need of it.

The numbers are SciPy's, which is imported when the first is needed.
"""

from __future__ import annotations

import math


def regularised_incomplete_beta(x: float, a: float, b: float) -> float:
    """I_x(a, b), the distribution function of the beta distribution with parameters a and b > 0 at x in [0, 1].

    >>> round(regularised_incomplete_beta(0.25, 2, 3), 12)  # 1 − (1 − x)^3 (1 + 3 x)
    0.26171875
    """
    if not (0 <= x <= 1 and a > 0 and b > 0):
        raise ValueError(f"expected x in [0, 1] and a, b > 0; got x = {x}, a = {a}, b = {b}")
    from scipy.special import betainc

    return float(betainc(a, b, x))


def beta_quantile(probability: float, a: float, b: float) -> float:
    """The x with I_x(a, b) = probability.

    >>> round(beta_quantile(0.26171875, 2, 3), 12)
    0.25
    """
    if not (0 <= probability <= 1 and a > 0 and b > 0):
        raise ValueError(f"a probability lies in [0, 1], and a, b > 0; got {probability}, a = {a}, b = {b}")
    from scipy.special import betaincinv

    return float(betaincinv(a, b, probability))


def student_t_quantile(probability: float, degrees_of_freedom: float) -> float:
    """Quantile of Student's t distribution.

    >>> round(student_t_quantile(0.975, 4), 6)
    2.776445
    """
    if not 0 < probability < 1 or not degrees_of_freedom > 0:
        raise ValueError(
            f"expected a probability in (0, 1) and degrees of freedom > 0; got {probability} and {degrees_of_freedom}"
        )
    from scipy.special import stdtrit

    return float(stdtrit(degrees_of_freedom, probability))


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
    # Not SciPy's ``stdtr``, which is wrong by up to 1e-12 near the centre. There ν/(ν+t²) would be rounded to 1;
    # further out, a difference from 1 would lose the small tail.
    ratio = (t / math.sqrt(degrees_of_freedom)) * (t / math.sqrt(degrees_of_freedom))
    if abs(t) < 1:
        tail = (1 - regularised_incomplete_beta(ratio / (1 + ratio), 0.5, degrees_of_freedom / 2)) / 2
    else:
        tail = regularised_incomplete_beta(1 / (1 + ratio), degrees_of_freedom / 2, 0.5) / 2
    return tail if t >= 0 else 1 - tail
