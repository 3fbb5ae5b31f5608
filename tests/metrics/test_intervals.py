"""Intervals: published examples, SciPy, exact coverage by enumeration, and what cannot be computed."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from snellen.core.errors import InputError
from snellen.metrics.intervals import (
    Interval,
    clopper_pearson,
    mean_interval,
    newcombe_difference,
    paired_difference,
    wilson,
)

counts = st.integers(1, 400).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))
confidences = st.floats(0.5, 0.999)


@pytest.mark.smoke
@pytest.mark.parametrize(("function", "method"), [(wilson, "wilson"), (clopper_pearson, "exact")])
def test_shares_against_scipy(function: type[Interval], method: str) -> None:
    stats = pytest.importorskip("scipy.stats")
    for n, confidence in itertools.product((1, 2, 7, 50, 1000), (0.5, 0.9, 0.95, 0.999)):
        for successes in {0, 1, n // 3, n - 1, n}:
            expected = stats.binomtest(successes, n).proportion_ci(confidence, method)
            low, high = function(successes, n, confidence)
            assert low == pytest.approx(expected.low, abs=1e-12, rel=1e-9)
            assert high == pytest.approx(expected.high, abs=1e-12, rel=1e-9)


def test_clopper_pearson_inverts_the_binomial_test() -> None:
    n, successes, confidence = 30, 11, 0.9
    low, high = clopper_pearson(successes, n, confidence)
    at_least = math.fsum(math.comb(n, k) * low**k * (1 - low) ** (n - k) for k in range(successes, n + 1))
    at_most = math.fsum(math.comb(n, k) * high**k * (1 - high) ** (n - k) for k in range(successes + 1))
    assert (at_least, at_most) == (pytest.approx(0.05, rel=1e-9), pytest.approx(0.05, rel=1e-9))


def test_clopper_pearson_closed_forms_at_the_ends() -> None:
    for n in (1, 10, 10_000, 1_000_000):
        low, high = clopper_pearson(0, n)
        assert (low, high) == (0, pytest.approx(-math.expm1(math.log(0.025) / n), rel=1e-9))
        low, high = clopper_pearson(n, n)
        assert (low, high) == (pytest.approx(0.025 ** (1 / n), rel=1e-12), 1)


def test_clopper_pearson_never_covers_less_than_promised() -> None:
    n = 12
    intervals = [clopper_pearson(successes, n, 0.9) for successes in range(n + 1)]
    for share in np.linspace(0.003, 0.997, 101):
        mass = [math.comb(n, k) * share**k * (1 - share) ** (n - k) for k in range(n + 1)]
        assert sum(m for m, (low, high) in zip(mass, intervals, strict=True) if low <= share <= high) >= 0.9 - 1e-12


@settings(deadline=None)
@given(counts, confidences)
def test_shares_are_inside_and_mirror(pair: tuple[int, int], confidence: float) -> None:
    successes, n = pair
    for function in (wilson, clopper_pearson):
        low, high = function(successes, n, confidence)
        assert 0 <= low <= successes / n <= high <= 1
        mirrored = function(n - successes, n, confidence)
        assert (1 - high, 1 - low) == (pytest.approx(mirrored.low, abs=1e-12), pytest.approx(mirrored.high, abs=1e-12))
        wider = function(successes, n, confidence + (1 - confidence) / 2)
        assert wider.low <= low
        assert wider.high >= high


def test_nothing_counted_is_nothing_known() -> None:
    assert wilson(0, 0) == clopper_pearson(0, 0) == (0, 1)
    assert newcombe_difference(0, 0, 3, 4) == newcombe_difference(3, 4, 0, 0) == (-1, 1)
    assert paired_difference(0, 0, 0) == (-1, 1)


def test_newcombe_examples_of_the_paper() -> None:
    # Newcombe, Statistics in Medicine 17 (1998) 873–890, table II, method 10.
    cases = {
        (56, 70, 48, 80): (0.0524, 0.3339),
        (9, 10, 3, 10): (0.1705, 0.8090),
        (5, 56, 0, 29): (-0.0381, 0.1926),
        (0, 10, 0, 10): (-0.2775, 0.2775),
        (10, 10, 0, 10): (0.6075, 1.0000),
    }
    for arguments, expected in cases.items():
        assert newcombe_difference(*arguments) == pytest.approx(expected, abs=5.1e-5)


def test_paired_difference_by_hand() -> None:
    # b = 12, c = 4, n = 100: N = 102, d = 8/102, √(17 − 64/102)/102 = 0.0396694…
    z = 1.959963984540054
    centre, error = 8 / 102, math.sqrt(17 - 64 / 102) / 102
    assert paired_difference(12, 4, 100) == pytest.approx((centre - z * error, centre + z * error), abs=1e-15)
    low, high = paired_difference(4, 12, 100)
    assert (-high, -low) == pytest.approx(paired_difference(12, 4, 100), abs=1e-15)
    assert paired_difference(1, 0, 1, 0.999) == (-1, 1)  # cut at what is possible


def test_paired_difference_covers_about_what_it_promises() -> None:
    n, both = 40, 0.5
    for only_first, only_second in ((0.2, 0.1), (0.1, 0.1), (0.05, 0.3)):
        covered = 0.0
        rest = 1 - only_first - only_second
        assert rest >= both
        for b in range(n + 1):
            for c in range(n + 1 - b):
                mass = math.comb(n, b) * math.comb(n - b, c) * only_first**b * only_second**c * rest ** (n - b - c)
                low, high = paired_difference(b, c, n)
                covered += mass * (low <= only_first - only_second <= high)
        assert 0.94 < covered < 0.98


def test_mean_interval_by_hand_and_against_scipy() -> None:
    assert mean_interval([1.0, 2.0, 3.0]) == pytest.approx(
        (2 - 4.302652729911275 / math.sqrt(3), 2 + 4.302652729911275 / math.sqrt(3))
    )
    stats = pytest.importorskip("scipy.stats")
    values = np.random.default_rng(0).normal(3, 2, 7)
    for confidence in (0.5, 0.95, 0.999):
        expected = stats.t.interval(confidence, 6, values.mean(), stats.sem(values))
        assert mean_interval(values, confidence) == pytest.approx(expected, rel=1e-9)


def test_mean_of_one_value_has_no_end_and_of_equal_values_no_width() -> None:
    assert mean_interval([0.3]) == (-math.inf, math.inf)
    assert mean_interval([0.5, 0.5, 0.5]) == (0.5, 0.5)


@settings(deadline=None)
@given(st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=20), st.randoms(use_true_random=False))
def test_mean_interval_does_not_depend_on_order(values: list[float], order: object) -> None:
    shuffled = list(values)
    order.shuffle(shuffled)  # type: ignore[attr-defined]
    assert mean_interval(shuffled) == pytest.approx(mean_interval(values), rel=1e-9, abs=1e-6)


def test_impossible_arguments() -> None:
    for successes, n in ((-1, 3), (4, 3), (0, -1)):
        for function in (wilson, clopper_pearson):
            with pytest.raises(InputError, match="are impossible"):
                function(successes, n)
    for b, c, n in ((-1, 0, 3), (2, 2, 3)):
        with pytest.raises(InputError, match="no paired table"):
            paired_difference(b, c, n)
    for confidence in (0.0, 1.0, 95.0, math.nan):
        for call in (
            lambda c: wilson(1, 2, c),
            lambda c: clopper_pearson(1, 2, c),
            lambda c: paired_difference(1, 1, 2, c),
            lambda c: newcombe_difference(1, 2, 1, 2, c),
            lambda c: mean_interval([1.0, 2.0], c),
        ):
            with pytest.raises(InputError, match="strictly between 0 and 1"):
                call(confidence)
    for values in ([], [1.0, math.nan], [math.inf, 0.0]):
        with pytest.raises(InputError, match="needs finite values"):
            mean_interval(values)
