"""Means of means of strata: by hand, by simulation, and with units."""

import math

import numpy as np
import pytest

from snellen.core.errors import InputError
from snellen.metrics.clustered import clustered_mean
from snellen.metrics.intervals import mean_interval
from snellen.metrics.stratified import stratified_interval


def test_one_stratum_is_the_mean_of_values_and_two_more() -> None:
    values = np.random.default_rng(0).random(50)
    mean, low, high = stratified_interval(values, np.zeros(50, dtype=int))
    deviations = (values - values.mean()) * math.sqrt(50 / 49)
    expected = mean_interval([*deviations, 1, -1])
    assert mean == pytest.approx(values.mean())
    assert (low, high) == (pytest.approx(mean + expected.low), pytest.approx(mean + expected.high))


def test_strata_weigh_alike() -> None:
    mean, low, high = stratified_interval(np.array([1.0, 6, 2, 8, 3]), np.array([0, 5, 0, 5, 0]))
    assert mean == 4.5
    assert high - mean == pytest.approx(mean - low)


def test_a_stratum_of_one_takes_the_variance_within_the_others() -> None:
    values, strata = np.array([0.0, 1, 0, 1, 0, 1, 1]), np.array([0, 0, 0, 0, 1, 1, 2])
    mean, low, high = stratified_interval(values, strata)
    assert mean == pytest.approx((0.5 + 0.5 + 1) / 3)
    _, low_alone, high_alone = stratified_interval(values[:6], strata[:6])
    assert high - low > 0
    assert high_alone - low_alone > 0
    assert stratified_interval(np.array([0.2, 0.7]), np.array([0, 1]))[1:] == (-math.inf, math.inf)


def test_no_spread_is_no_certainty() -> None:
    mean, low, high = stratified_interval(np.ones(12), np.zeros(12, dtype=int))
    assert mean == 1
    assert 0.15 < high - mean < 0.3
    assert low < mean


@pytest.mark.parametrize("size", [1, 8])
def test_it_covers_a_balanced_accuracy(size: int) -> None:
    rng, shares, sizes = np.random.default_rng(size), (0.95, 0.7, 0.4), (400, 80, 60)
    strata, covered = np.repeat(np.arange(3), sizes), []
    units = np.arange(540) // size
    for _ in range(600):
        shift = np.repeat(rng.normal(0, 1 if size > 1 else 0, units.max() + 1), size)[:540]
        chance = 1 / (1 + np.exp(-(np.log(np.array(shares) / (1 - np.array(shares)))[strata] + shift)))
        values = (rng.random(540) < chance).astype(float)
        _, low, high = stratified_interval(values, strata, units if size > 1 else None, 0.9)
        drawn = rng.normal(0, 1 if size > 1 else 0, 4000)
        true = np.mean([(1 / (1 + np.exp(-(np.log(s / (1 - s)) + drawn)))).mean() for s in shares])
        covered.append(low <= true <= high)
    assert 0.86 <= np.mean(covered) <= 0.95


def test_order_and_names_do_not_matter() -> None:
    rng = np.random.default_rng(0)
    values, strata, units = rng.random(40), rng.integers(0, 4, 40), rng.integers(0, 12, 40)
    order = rng.permutation(40)
    before = stratified_interval(values, strata, units)
    assert stratified_interval(values[order], 7 - 2 * strata[order], units[order]) == pytest.approx(before)


def test_units_widen_it() -> None:
    values, strata = np.repeat([1.0, 0, 1, 0, 1, 1], 8), np.zeros(48, dtype=int)
    alone = stratified_interval(values, strata)
    by_unit = stratified_interval(values, strata, np.arange(48) // 8)
    assert by_unit[2] - by_unit[1] > 1.5 * (alone[2] - alone[1])
    assert clustered_mean(values, np.arange(48) // 8).units == 6


def test_it_refuses() -> None:
    for values, strata in (([], []), ([1.0], [0, 1]), ([1.0, math.nan], [0, 0]), ([math.inf], [0])):
        with pytest.raises(InputError, match=r"values came with .* strata; both are needed"):
            stratified_interval(np.array(values), np.array(strata))
    with pytest.raises(InputError, match="strictly between 0 and 1"):
        stratified_interval(np.array([1.0, 0.0]), np.array([0, 0]), confidence=1.0)
