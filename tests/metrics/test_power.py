"""What a test could have seen is found in nine of ten cases, by simulation with the very tests that an audit makes."""

import numpy as np
import pytest

from snellen.auditing.checks.calibration import EXTRA_VARIANCE, _sight, bins_for, calibration_test
from snellen.auditing.gaps import error_gap
from snellen.checks.per_image import PerImage
from snellen.checks.strengths import lost_over
from snellen.metrics.power import detectable_drop, detectable_loss, detectable_shift

ALPHA, RUNS = 0.002, 300


@pytest.mark.parametrize(("count", "others", "share"), [(60, 540, 0.9), (200, 800, 0.75), (500, 500, 0.97)])
def test_a_drop_of_a_class(count, others, share):
    rng, drop = np.random.default_rng(0), detectable_drop(count, others, share, ALPHA)
    member = np.arange(count + others) < count
    chance = np.where(member, 1 - share + drop, 1 - share)
    found = [error_gap(rng.random(len(chance)) < chance, member).p_value <= ALPHA for _ in range(RUNS)]
    assert 0.82 < np.mean(found) < 0.97


def test_no_drop_can_be_seen_in_two_images():
    assert detectable_drop(2, 500, 0.9, ALPHA) is None
    assert detectable_drop(0, 500, 0.9, ALPHA) is None


@pytest.mark.parametrize("flips", [0.0, 0.01, 0.05])
def test_a_loss_under_a_corruption_beside_changes_that_cancel(flips):
    rng, count = np.random.default_rng(1), 1000
    loss, found = detectable_loss(count, 2 * flips, ALPHA), []
    for _ in range(RUNS):
        right = rng.random(count) < 0.8
        draw = rng.random(count)
        # Of the right ones some are lost, of the wrong ones as many become right, beside the loss itself.
        lost, gained = right & (draw < (flips + loss) / 0.8), ~right & (draw < flips / 0.2)
        outcomes = ((right & ~lost) | gained).astype(np.int8)[None]
        found.append(lost_over(right, outcomes, None).drop.p_value() <= ALPHA)
    assert 0.82 < np.mean(found) < 0.99


def test_no_loss_can_be_seen_in_five_images():
    assert detectable_loss(5, 0.0, ALPHA) is None
    assert detectable_loss(0, 0.0, ALPHA) is None


@pytest.mark.parametrize(("count", "low", "high"), [(1000, 0.55, 0.95), (300, 0.6, 0.9), (2000, 0.9, 0.99)])
def test_a_shift_of_all_confidences(count, low, high):
    rng = np.random.default_rng(2)
    stated = rng.uniform(low, high, count)
    whole = float((stated * (1 - stated)).sum())
    bins = bins_for(whole)
    shift = detectable_shift(whole / bins + EXTRA_VARIANCE, count, bins, ALPHA)
    found = [calibration_test(stated, rng.random(count) < stated - shift)[0] <= ALPHA for _ in range(RUNS)]
    assert 0.82 < np.mean(found) <= 1


def known(confidence, units=None):
    count = len(confidence)
    return PerImage(
        tuple(map(str, range(count))), np.zeros(count, int), np.zeros(count, int), confidence=confidence, units=units
    )


def test_nothing_is_promised_of_calibration_where_it_cannot_be_known():
    assert _sight(known(np.full(300, 0.999)), ALPHA) is None, "hardly a doubtful image"
    assert _sight(known(np.full(5, 0.8)), ALPHA) is None
    assert _sight(known(np.full(1000, 0.8), np.arange(1000) // 10), ALPHA) is None, "units"
    assert "points" in _sight(known(np.full(1000, 0.8)), ALPHA)
