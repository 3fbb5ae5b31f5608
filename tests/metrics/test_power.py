"""What a test could have seen is found in nine of ten cases, by simulation with the very tests that an audit makes."""

import numpy as np
import pytest

from snellen.auditing.checks.calibration import calibration_test
from snellen.auditing.gaps import error_gap
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


def test_a_loss_under_a_corruption():
    rng, count = np.random.default_rng(1), 1000
    loss = detectable_loss(count, ALPHA)
    right = np.ones(count, dtype=bool)
    found = []
    for _ in range(RUNS):
        outcomes = np.where(rng.random((1, count)) < loss, 0, 1).astype(np.int8)
        found.append(lost_over(right, outcomes, None).drop.p_value() <= ALPHA)
    assert 0.82 < np.mean(found) < 0.99
    assert detectable_loss(5, ALPHA) is None


def test_a_shift_of_all_confidences():
    rng, count = np.random.default_rng(2), 1000
    stated = rng.uniform(0.55, 0.95, count)
    shift = detectable_shift(float((stated * (1 - stated)).mean()), count, 10, ALPHA)
    found = [calibration_test(stated, rng.random(count) < stated - shift)[0] <= ALPHA for _ in range(RUNS)]
    assert 0.82 < np.mean(found) < 0.97
