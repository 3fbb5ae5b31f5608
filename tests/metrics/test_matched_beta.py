"""Intervals of means of losses: closed forms, edges, and how often they hold."""

import numpy as np
import pytest

from snellen.core.errors import InputError
from snellen.metrics.incomplete_beta import beta_quantile
from snellen.metrics.intervals import clopper_pearson
from snellen.metrics.loss_interval import loss_interval
from snellen.metrics.matched_beta import matched_beta_interval


def test_the_lower_end_is_a_quantile_of_the_matched_distribution():
    value, variance = 0.2, 0.2 * 0.8 / 101
    low, _ = matched_beta_interval(value, variance, added=1e-3)
    number = value * (1 - value) / variance - 1
    assert low == pytest.approx(beta_quantile(0.025, number * value, number * (1 - value)), rel=1e-4)


def test_for_shares_it_is_close_to_the_exact_interval():
    for right, n in ((3, 40), (20, 50), (95, 100)):
        share = right / n
        found = matched_beta_interval(share, share * (1 - share) / n, added=1 / n)
        assert found == pytest.approx(clopper_pearson(right, n), abs=0.02)


def test_edges():
    assert matched_beta_interval(0.0, 0.0, added=0.01).low == 0
    assert 0 < matched_beta_interval(0.0, 0.0, added=0.01).high < 0.1
    assert matched_beta_interval(0.5, 0.01, added=0.01, degrees=0) == (0.0, 1.0)
    wide = matched_beta_interval(0.3, 0.002, added=0.01, degrees=4)
    narrow = matched_beta_interval(0.3, 0.002, added=0.01)
    assert wide.low < narrow.low < 0.3 < narrow.high < wide.high
    for bad in (-0.1, 1.1, float("nan")):
        with pytest.raises(InputError):
            matched_beta_interval(bad, 0.01, added=0.01)


def test_equal_losses_are_no_proof():
    for loss in (0.0, 0.2, 2.0):
        low, high = loss_interval([loss] * 50, large=2.0, most=2.0)
        assert low <= loss <= high
        assert high - low > 0.05
    assert loss_interval([0.1] * 10, np.zeros(10, dtype=int), large=2.0, most=2.0) == (0.0, 2.0)
    with pytest.raises(InputError):
        loss_interval([3.0], large=2.0, most=2.0)


@pytest.mark.parametrize("size", [1, 8])
def test_the_interval_of_a_brier_score_holds(size):
    rng, missed, units = np.random.default_rng(size), 0, np.arange(320) // size
    for _ in range(200):
        error = np.repeat(rng.beta(0.5, 4.5, 320 // size), size)
        wrong = rng.random(320) < error
        losses = 2 * np.where(wrong, (1 - error) ** 2, error**2)
        truth = 2 * (0.1 - (0.5 * 1.5) / (5 * 6))  # 2 E[p (1 − p)] of this beta distribution
        low, high = loss_interval(losses, units if size > 1 else None, large=2.0, most=2.0)
        missed += not low <= truth <= high
    assert missed <= 20, "5 % of 200 are 10, with a standard error of 3.1"
