"""The incomplete beta function and its quantiles, against closed forms and SciPy."""

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


def test_against_scipy() -> None:
    special = pytest.importorskip("scipy.special")
    for a in (0.1, 0.5, 1.0, 3.7, 100.0, 12345.0, 1e6):
        for b in (0.1, 0.5, 2.0, 40.0, 1e6):
            for probability in (1e-12, 1e-3, 0.025, 0.5, 0.9, 0.999999):
                x = float(special.betaincinv(a, b, probability))
                if 1e-290 < x < 1:
                    expected = float(special.betainc(a, b, x))
                    assert regularised_incomplete_beta(x, a, b) == pytest.approx(expected, rel=1e-10)


def test_student_t_against_scipy() -> None:
    stats = pytest.importorskip("scipy.stats")
    for degrees in (1, 2, 3, 4, 7, 29, 1000, 1e6):
        for probability in (1e-6, 0.025, 0.3, 0.5, 0.50001, 0.75, 0.975, 0.995, 1 - 1e-7):
            expected = float(stats.t.ppf(probability, degrees))
            assert student_t_quantile(probability, degrees) == pytest.approx(expected, rel=1e-7, abs=1e-12)


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


def test_student_t_probability_against_scipy() -> None:
    stats = pytest.importorskip("scipy.stats")
    for degrees in (0.5, 1, 2.5, 10, 60, 399, 1e5):
        for t in (1e-9, 0.01, 0.7, 1, 1.96, 5, 12, 40, -0.3, -2, -20):
            expected = stats.t.sf(t, degrees)
            assert student_t_probability(t, degrees) == pytest.approx(expected, rel=1e-8, abs=1e-300)


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
