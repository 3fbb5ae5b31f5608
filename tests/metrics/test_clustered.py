"""Intervals by unit: equal to known ones without units, to SciPy's t tests, and what cannot be computed."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from snellen.core.errors import InputError
from snellen.metrics.clustered import ClusteredMean, clustered_difference, clustered_mean, clustered_share
from snellen.metrics.intervals import mean_interval, wilson

values_of = st.lists(st.floats(-1, 1), min_size=2, max_size=20)


def data(seed: int, n: int = 60, units: int = 12) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    codes = generator.integers(0, units, n)
    return (generator.random(n) < generator.random(units)[codes]).astype(float), codes


@settings(deadline=None, max_examples=40)
@given(values_of, st.floats(0.5, 0.999))
def test_without_units_it_is_students_interval(values: list[float], confidence: float) -> None:
    for units in (None, np.arange(len(values)) * 3 - 5):
        result = clustered_mean(values, units)
        assert result.interval(confidence) == pytest.approx(mean_interval(values, confidence), rel=1e-9, abs=1e-9)
        assert (result.n, result.units, result.degrees_of_freedom) == (len(values), len(values), len(values) - 1)
    added = clustered_mean(values, pseudo_units=1).interval(confidence)
    assert added == pytest.approx(mean_interval([*values, 1.0, -1.0], confidence), rel=1e-9, abs=1e-9)


def test_mean_and_p_value_against_scipy() -> None:
    stats = pytest.importorskip("scipy.stats")
    values = np.random.default_rng(0).normal(0.2, 1, 30)
    for alternative, sign in (("greater", 1), ("less", -1)):
        expected = stats.ttest_1samp(values, 0, alternative=alternative).pvalue
        assert clustered_mean(sign * values).p_value() == pytest.approx(expected, rel=1e-9)
    # Units of equal size: the t test of their means.
    units = np.repeat(np.arange(6), 5)
    result = clustered_mean(values, units)
    expected = stats.ttest_1samp(values.reshape(6, 5).mean(1), 0, alternative="greater")
    assert result.p_value() == pytest.approx(expected.pvalue, rel=1e-9)
    assert (result.degrees_of_freedom, result.units, result.n) == (5, 6, 30)


def test_mean_with_units_by_hand() -> None:
    # Sums 2, 0, 1 and sizes 3, 1, 2; mean 1/2; leaving out one: 1/3, 3/5, 1/2; variance 2/3 (1/36 + 1/100).
    result = clustered_mean([1, 1, 0, 0, 1, 0], np.array([0, 0, 0, 1, 2, 2]))
    assert result.value == pytest.approx(0.5)
    assert result.standard_error == pytest.approx(math.sqrt(2 / 3 * (1 / 36 + 1 / 100)))
    assert result.degrees_of_freedom == pytest.approx(36 / 14 - 1)


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10_000), st.floats(0.51, 0.999))
def test_lower_bound_and_p_value_agree(seed: int, confidence: float) -> None:
    values, units = data(seed)
    for result in (
        clustered_mean(values - 0.4, units),
        clustered_mean(values - 0.4, units, pseudo_units=1),
        clustered_difference(values[::2], values[1::2], units[::2], units[1::2]),
    ):
        lower = result.lower(confidence)
        assert lower == pytest.approx(result.interval(2 * confidence - 1).low, abs=1e-9)
        if abs(lower) > 1e-9:
            assert (lower > 0) == (result.p_value() < 1 - confidence)


def test_two_losses_prove_nothing_even_as_two_units() -> None:
    assert clustered_mean([1, 1]).p_value() == 0
    for units in (None, np.zeros(2, dtype=np.int64)):
        assert clustered_mean([1, 1], units, pseudo_units=1).p_value() > 0.15
    sixteen = clustered_mean(np.ones(16), np.repeat([0, 1], 8), pseudo_units=1)
    assert (
        sixteen.p_value()
        == pytest.approx(clustered_mean([1, 1], pseudo_units=1).p_value())
        == pytest.approx(0.195501, abs=1e-6)
    )
    assert (sixteen.n, sixteen.units) == (16, 2)
    assert clustered_mean(np.ones(20), pseudo_units=1).p_value() < 1e-6
    few = clustered_difference([1, 1], np.tile([1, 0, 0, 0], 25), np.zeros(2, int), np.arange(1, 101), pseudo_units=1)
    assert few.p_value() > 0.05


def test_a_single_unit_says_nothing() -> None:
    result = clustered_mean([1, 1, 0], np.zeros(3, dtype=np.int64))
    assert (result.value, result.standard_error, result.p_value()) == (pytest.approx(2 / 3), math.inf, 1)
    assert (result.interval(), result.lower()) == ((-math.inf, math.inf), -math.inf)
    assert clustered_share([1, 1, 1], np.zeros(3, dtype=np.int64)) == (0, 1)
    same = np.zeros(2, dtype=np.int64)
    for second in (same, same + 1, np.array([0, 1])):
        gap = clustered_difference([1, 0], [0, 1], same, second)
        assert (gap.interval(), gap.p_value()) == ((-math.inf, math.inf), 1)


def test_values_without_spread() -> None:
    assert clustered_mean([0.5, 0.5, 0.5]) == ClusteredMean(0.5, 0.0, 2.0, 3, 3)
    assert clustered_mean([0.0, 0.0]).p_value() == 1
    assert clustered_mean([0.5, 0.5]).interval() == (0.5, 0.5)
    assert clustered_difference([1, 1], [0, 0]).p_value() == 0


@settings(deadline=None, max_examples=40)
@given(st.lists(st.booleans(), max_size=40), st.floats(0.5, 0.999))
def test_share_without_units_is_wilsons(correct: list[bool], confidence: float) -> None:
    for units in (None, np.arange(len(correct))):
        assert clustered_share(correct, units, confidence) == wilson(sum(correct), len(correct), confidence)


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10_000), st.floats(0.5, 0.999))
def test_share_is_inside_mirrors_and_is_never_surer_than_wilson(seed: int, confidence: float) -> None:
    correct, units = data(seed)
    low, high = clustered_share(correct, units, confidence)
    assert 0 <= low <= correct.mean() <= high <= 1
    mirrored = clustered_share(1 - correct, units, confidence)
    assert (1 - high, 1 - low) == (pytest.approx(mirrored.low, abs=1e-12), pytest.approx(mirrored.high, abs=1e-12))
    independent = wilson(int(correct.sum()), len(correct), confidence)
    assert high - low >= independent.high - independent.low - 1e-12


def test_an_all_right_sample_counts_its_units_and_a_mistake_more_is_no_better() -> None:
    units = np.repeat(np.arange(60), 8)
    correct = np.ones(480)
    lows = []
    for mistakes in range(4):
        correct[: 8 * mistakes : 8] = 0
        lows.append(clustered_share(correct, units).low)
    few = 2.0009952 / 1.9649343  # t with 59 and with 479 degrees of freedom
    assert lows[0] == pytest.approx(1 / (1 + 1.959963984540054**2 * few**2 / 60), abs=1e-6)
    assert 0.9 < lows[0] < wilson(60, 60).low
    correct[:] = 1
    correct[:8] = 0
    assert clustered_share(correct, units).low < lows[0]


def test_difference_of_disjoint_images_is_welchs_test() -> None:
    stats = pytest.importorskip("scipy.stats")
    generator = np.random.default_rng(0)
    first, second = generator.normal(0.3, 2, 9), generator.normal(0, 1, 30)
    expected = stats.ttest_ind(first, second, equal_var=False, alternative="greater")
    for units in ((None, None), (np.arange(9), np.arange(9, 39))):
        gap = clustered_difference(first, second, *units)
        assert gap.value == pytest.approx(first.mean() - second.mean())
        assert gap.p_value() == pytest.approx(expected.pvalue, rel=1e-9)
        assert gap.degrees_of_freedom == pytest.approx(expected.df, rel=1e-9)
        assert gap.interval(0.9) == pytest.approx(
            tuple(stats.ttest_ind(first, second, equal_var=False).confidence_interval(0.9)), rel=1e-9
        )
    # Units of equal size: Welch's test of their means.
    means = stats.ttest_ind(second.reshape(10, 3).mean(1), first.reshape(3, 3).mean(1), equal_var=False)
    gap = clustered_difference(second, first, np.repeat(np.arange(10), 3), np.repeat(np.arange(10, 13), 3))
    assert (gap.degrees_of_freedom, gap.value / gap.standard_error) == (
        pytest.approx(means.df),
        pytest.approx(means.statistic),
    )


def test_difference_on_the_same_units_is_the_mean_of_differences() -> None:
    generator = np.random.default_rng(1)
    units = generator.integers(0, 12, 50)
    common = generator.normal(0, 5, 12)[units]
    first, second = common + generator.normal(0, 1, 50), common + generator.normal(0, 1, 50)
    gap, paired = clustered_difference(first, second, units, units), clustered_mean(first - second, units)
    assert (gap.value, gap.standard_error) == (pytest.approx(paired.value), pytest.approx(paired.standard_error))
    assert gap.degrees_of_freedom == pytest.approx(paired.degrees_of_freedom)
    apart = clustered_difference(first, second, units, units + 100)
    assert apart.standard_error > 2 * gap.standard_error


def test_pseudo_units_of_a_difference_are_those_of_agresti_and_caffo() -> None:
    first, second = np.array([1, 1, 1, 0.0]), np.array([0, 0, 1, 0, 0.0])
    gap = clustered_difference(first, second, pseudo_units=1)
    p, q = 4 / 6, 2 / 7
    assert gap.value == pytest.approx(p - q)
    assert gap.standard_error == pytest.approx(math.sqrt(p * (1 - p) / 5 + q * (1 - q) / 6))
    assert (gap.n, gap.units) == (9, 9)


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10_000), st.integers(2, 10))
def test_order_and_names_of_units_do_not_matter(seed: int, cut: int) -> None:
    values, units = data(seed)
    order = np.random.default_rng(seed).permutation(len(values))
    names = np.random.default_rng(seed + 1).permutation(100)[:12]
    first = units < cut
    for one, two in (
        (
            clustered_mean(values, units, pseudo_units=1),
            clustered_mean(values[order], names[units][order], pseudo_units=1),
        ),
        (
            clustered_difference(values[first], values[~first], units[first], units[~first]),
            clustered_difference(
                values[order][first[order]],
                values[order][~first[order]],
                names[units][order][first[order]],
                names[units][order][~first[order]],
            ),
        ),
    ):
        assert (one.value, one.standard_error) == (pytest.approx(two.value), pytest.approx(two.standard_error))
        assert one.degrees_of_freedom == pytest.approx(two.degrees_of_freedom)
    assert clustered_share(values, units) == pytest.approx(clustered_share(values[order], names[units][order]))


def test_what_cannot_be_used() -> None:
    units = np.zeros(2, dtype=np.int64)
    for values in ([], [1.0, math.nan], [math.inf, 0], [[1.0, 2.0]]):
        with pytest.raises(InputError, match="expected finite values"):
            clustered_mean(values)
        with pytest.raises(InputError, match="expected finite values of the second group"):
            clustered_difference([1.0], values)
    for call in (lambda: clustered_mean([1, 0, 1], units), lambda: clustered_share([1, 0, 1], units)):
        with pytest.raises(InputError, match="3 values need as many integer unit codes"):
            call()
    with pytest.raises(InputError, match="units of both groups, or of neither"):
        clustered_difference([1, 0], [1, 0], units)
    with pytest.raises(InputError, match=r"\[3, 1\] values of the groups"):
        clustered_difference([1, 0, 1], [1], units, units)
    with pytest.raises(InputError, match="true or false"):
        clustered_share([0.5, 1])
    for weight in (-1.0, math.nan, math.inf):
        with pytest.raises(InputError, match="weight of pseudo-units"):
            clustered_mean([1, 0], pseudo_units=weight)
    for confidence in (0.0, 1.0, 95.0, math.nan):
        for ask in (
            clustered_mean([1, 0]).interval,
            clustered_mean([1, 0]).lower,
            lambda c: clustered_share([1, 0, 1], np.array([0, 0, 1]), c),
        ):
            with pytest.raises(InputError, match="strictly between 0 and 1"):
                ask(confidence)
