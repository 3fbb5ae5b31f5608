"""The incomplete beta function and its quantiles, against closed forms and values computed to 30 digits or more.

The tables hold sums of the series DLMF 8.17.8 in mpmath, and inverses of them by bisection and Newton's method.
"""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from snellen.metrics.incomplete_beta import (
    beta_quantile,
    regularised_incomplete_beta,
    student_t_probability,
    student_t_quantile,
)

#: x, a, b: I_x(a, b).
BETA = {
    (0.001, 0.5, 2.0): 0.04741835351422485,
    (0.025, 0.5, 40.0): 0.8440260999965102,
    (0.3, 3.7, 40.0): 0.9998347827277841,
    (0.9, 100.0, 2.0): 0.00029217538776346293,
    (0.5, 100.0, 40.0): 1.1656864510390143e-07,
    (0.93, 12345.0, 1000.0): 0.9861369568184898,
    (0.06, 1000.0, 12345.0): 1.2884906996563134e-12,
    (1e-06, 0.1, 0.1): 0.12741225313416493,
    (0.7, 1375.9, 66.1): 5.946289993993494e-134,
    (0.5, 100000.0, 99700.0): 0.2510065641401293,
}
#: Probability, a, b: x.
QUANTILES = {
    (1e-12, 100.0, 2.0): 0.7338174546674524,
    (0.025, 3.7, 40.0): 0.02250521257073883,
    (0.5, 0.5, 0.5): 0.5,
    (0.975, 1234.0, 100.0): 0.9385480255620287,
    (0.001, 1.0, 10000.0): 1.0005002835334893e-07,
    (0.999, 40.0, 1000.0): 0.059398404201800335,
}
#: t, degrees of freedom: P(T > t).
TAILS = {
    (1e-09, 0.5): 0.4999999997303237,
    (0.01, 1): 0.49681700723509176,
    (0.7, 2.5): 0.27170247159477406,
    (1.96, 10): 0.039218120123849856,
    (5, 60): 2.644012105337139e-06,
    (12, 399): 7.708073368879292e-29,
    (40, 399): 5.372402078673676e-142,
    (-0.3, 2.5): 0.6063288142524014,
    (-2, 0.5): 0.7772425549084344,
    (-20, 10): 0.9999999989269689,
}
#: Probability, degrees of freedom: t.
T_QUANTILES = {
    (0.975, 2.5): 3.5746548420036817,
    (0.9995, 60): 3.4602004691963915,
    (1e-06, 10): -9.75199549094058,
    (0.50001, 3): 2.720699046786482e-05,
    (0.3, 0.5): -1.0095258786071661,
    (1e-09, 400): -6.139200891706378,
    (0.995, 4): 4.604094871349992,
}

parameters = st.floats(0.05, 1e4)
shares = st.floats(0.0, 1.0)


@settings(deadline=None)
@given(shares, st.floats(0.1, 50))
def test_closed_forms(x: float, a: float) -> None:
    assert regularised_incomplete_beta(x, a, 1) == pytest.approx(x**a, rel=1e-11, abs=1e-300)
    assert regularised_incomplete_beta(x, 1, a) == pytest.approx(
        -math.expm1(a * math.log1p(-x)) if x < 1 else 1, rel=1e-9, abs=1e-15
    )


@settings(deadline=None)
@given(st.integers(0, 1024), parameters, parameters)
def test_symmetry_and_range(part: int, a: float, b: float) -> None:
    x = part / 1024  # so that 1 - x is exact
    value = regularised_incomplete_beta(x, a, b)
    assert 0 <= value <= 1 + 1e-12
    assert value + regularised_incomplete_beta(1 - x, b, a) == pytest.approx(1, abs=1e-9)


def test_binomial_tails_by_summation() -> None:
    n, share = 40, 0.3
    for successes in range(1, n + 1):
        tail = math.fsum(math.comb(n, k) * share**k * (1 - share) ** (n - k) for k in range(successes, n + 1))
        assert regularised_incomplete_beta(share, successes, n - successes + 1) == pytest.approx(tail, rel=1e-12)


def test_against_values_of_many_digits() -> None:
    for (x, a, b), expected in BETA.items():
        assert regularised_incomplete_beta(x, a, b) == pytest.approx(expected, rel=1e-12)
    for (probability, a, b), expected in QUANTILES.items():
        assert beta_quantile(probability, a, b) == pytest.approx(expected, rel=1e-12)
    for (t, degrees), expected in TAILS.items():
        assert student_t_probability(t, degrees) == pytest.approx(expected, rel=1e-12)
    for (probability, degrees), expected in T_QUANTILES.items():
        assert student_t_quantile(probability, degrees) == pytest.approx(expected, rel=1e-11)


def test_student_t_against_closed_forms() -> None:
    for probability in (0.6, 0.9, 0.975, 0.9999, 0.01):
        cauchy = math.tan(math.pi * (probability - 0.5))
        assert student_t_quantile(probability, 1) == pytest.approx(cauchy, rel=1e-9)
        two = (2 * probability - 1) * math.sqrt(2 / (4 * probability * (1 - probability)))
        assert student_t_quantile(probability, 2) == pytest.approx(two, rel=1e-9)


@settings(deadline=None)
@given(st.floats(0.001, 0.999), st.floats(0.5, 500), st.floats(0.5, 500))
def test_quantile_undoes_the_distribution(probability: float, a: float, b: float) -> None:
    assert regularised_incomplete_beta(beta_quantile(probability, a, b), a, b) == pytest.approx(probability, rel=1e-8)


def test_ends() -> None:
    assert regularised_incomplete_beta(0.0, 2, 3) == 0
    assert regularised_incomplete_beta(1.0, 2, 3) == 1
    assert (beta_quantile(0.0, 2, 3), beta_quantile(1.0, 2, 3)) == (0, 1)
    assert student_t_quantile(0.5, 3) == 0


@pytest.mark.parametrize("x", [-0.1, 1.1, math.nan])
def test_impossible_values(x: float) -> None:
    with pytest.raises(ValueError, match="expected x in"):
        regularised_incomplete_beta(x, 1, 1)
    with pytest.raises(ValueError, match="probability lies in"):
        beta_quantile(x, 1, 1)
    with pytest.raises(ValueError, match="probability in"):
        student_t_quantile(x, 1)
    with pytest.raises(ValueError, match="degrees of freedom"):
        student_t_quantile(0.5, 0)


def test_student_t_probability_closed_forms() -> None:
    for t in (-30.0, -1.0, 0.0, 0.2, 3.0, 1e6):
        cauchy = math.atan2(1, t) / math.pi
        assert student_t_probability(t, 1) == pytest.approx(cauchy, rel=1e-9)
        assert student_t_probability(t, math.inf) == pytest.approx(math.erfc(t / math.sqrt(2)) / 2, rel=1e-12)
        assert student_t_probability(t, 4.5) + student_t_probability(-t, 4.5) == pytest.approx(1, abs=1e-12)
    assert student_t_probability(0.0, 7) == 0.5
    assert (student_t_probability(math.inf, 3), student_t_probability(-math.inf, 3)) == (0, 1)


@settings(deadline=None, max_examples=50)
@given(st.floats(0.001, 0.999), st.floats(0.5, 500))
def test_student_t_probability_undoes_the_quantile(probability: float, degrees: float) -> None:
    assert student_t_probability(student_t_quantile(probability, degrees), degrees) == pytest.approx(
        1 - probability, rel=1e-7
    )


def test_student_t_probability_of_what_is_no_number() -> None:
    for t, degrees in ((math.nan, 3.0), (1.0, 0.0), (1.0, -2.0), (1.0, math.nan)):
        with pytest.raises(ValueError, match="degrees of freedom > 0"):
            student_t_probability(t, degrees)
