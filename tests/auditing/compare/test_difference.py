"""Differences of figures: against closed forms, in both directions, with units."""

import numpy as np
import pytest
from scipy.stats import binomtest

from snellen.auditing.compare.difference import (
    FromInterval,
    Gap,
    Mean,
    OfWeights,
    Stratified,
    paired_difference,
    unpaired_difference,
)
from snellen.checks.check import CheckFigure
from snellen.metrics.weighted import weighted_mean


def decisions(seed, n=400, share=0.8):
    return (np.random.default_rng(seed).random(n) < share).astype(np.float64)


def test_shares_of_independent_images_are_tested_exactly():
    before, after = decisions(0), decisions(1, share=0.7)
    found = paired_difference(Mean(before), Mean(after), None)
    lost, gained = int((before > after).sum()), int((before < after).sum())
    assert found.fall == pytest.approx(binomtest(lost, lost + gained, alternative="greater").pvalue, rel=1e-9)
    assert found.value == pytest.approx((after - before).mean())
    assert found.low < found.value < found.high


@pytest.mark.parametrize("units", [None, np.arange(400) // 4])
@pytest.mark.parametrize(
    "make",
    [
        Mean,
        lambda values: Gap(values, np.arange(400) < 100),
        lambda values: Stratified(values, np.arange(400) % 3),
        lambda values: OfWeights(weighted_mean(values), 400),
    ],
)
def test_exchanging_the_runs_turns_the_sign(make, units):
    before, after = make(decisions(0)), make(decisions(1, share=0.6))
    there, back = paired_difference(before, after, units), paired_difference(after, before, units)
    assert there.value == pytest.approx(-back.value)
    assert (there.low, there.high) == pytest.approx((-back.high, -back.low), abs=1e-12)
    assert (there.rise, there.fall) == pytest.approx((back.fall, back.rise))
    same = paired_difference(before, make(decisions(0)), units)
    assert same.identical
    assert same.value == 0
    assert min(same.rise, same.fall) >= 0.5


def test_all_ways_agree_on_a_mean():
    before, after = decisions(0), decisions(1, share=0.7)
    plain = paired_difference(Mean(before), Mean(after), None)
    by_bootstrap = paired_difference(OfWeights(weighted_mean(before), 400), OfWeights(weighted_mean(after), 400), None)
    one_stratum = np.zeros(400, dtype=np.int64)
    stratified = paired_difference(Stratified(before, one_stratum), Stratified(after, one_stratum), None)
    for other in (by_bootstrap, stratified):
        assert other.value == pytest.approx(plain.value)
        assert other.low == pytest.approx(plain.low, abs=0.01)
        assert other.high == pytest.approx(plain.high, abs=0.01)


def test_units_that_go_together_widen_the_interval():
    rng = np.random.default_rng(0)
    codes = np.repeat(np.arange(50), 8)
    before, after = (rng.random(50) < share for share in (0.8, 0.7))
    means = Mean(before[codes].astype(float)), Mean(after[codes].astype(float))
    alone, together = paired_difference(*means, None), paired_difference(*means, codes)
    assert together.high - together.low > 2 * (alone.high - alone.low)
    assert together.fall > alone.fall


def test_unpaired_is_wider_than_paired_on_images_that_are_hard_for_both():
    hard = np.random.default_rng(0).random(400)
    before, after = Mean((hard < 0.8).astype(float)), Mean((hard < 0.75).astype(float))
    paired, apart = paired_difference(before, after, None), unpaired_difference(before, after, None, None)
    assert not apart.paired
    assert not apart.identical
    assert apart.value == pytest.approx(paired.value)
    assert apart.high - apart.low > 1.5 * (paired.high - paired.low)
    newcombe = np.sqrt(sum(share * (1 - share) / 400 for share in (before.value, after.value))) * 1.96
    assert (apart.high - apart.low) / 2 == pytest.approx(newcombe, rel=0.05)


def test_intervals_combine_as_their_distances():
    one = FromInterval(CheckFigure(value=0.5, low=0.47, high=0.54, n=9))
    other = FromInterval(CheckFigure(value=0.6, low=0.56, high=0.63, n=9))
    found = unpaired_difference(one, other, None, None)
    assert found.low == pytest.approx(0.1 - np.hypot(0.04, 0.04))
    assert found.high == pytest.approx(0.1 + np.hypot(0.03, 0.03))
    assert found.rise < 0.001 < 0.99 < found.fall
    mixed = unpaired_difference(one, Mean(np.tile([1.0, 1.0, 0.0, 1.0, 0.0], 40)), None, None)
    assert not mixed.paired
    assert mixed.value == pytest.approx(0.1)


def test_one_unit_says_nothing():
    codes = np.zeros(400, dtype=np.int64)
    for make in (Mean, lambda values: OfWeights(weighted_mean(values), 400)):
        found = paired_difference(make(decisions(0)), make(decisions(1, share=0.2)), codes)
        assert min(found.rise, found.fall) > 0.05
        assert found.low < -1
        assert found.high > 0
