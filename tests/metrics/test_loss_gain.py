"""Gains: mean differences, with intervals that cover."""

import numpy as np
import pytest

from snellen.core.errors import InputError
from snellen.metrics.loss_gain import gain


def test_a_gain_is_the_mean_difference_and_its_sign_a_verdict():
    rng = np.random.default_rng(0)
    base = rng.exponential(size=(5, 80))
    found = gain(base - 0.3, base, rng=rng)
    assert found.change == pytest.approx(-0.3)
    assert (found.verdict, gain(base, base - 0.3, rng=rng).verdict) == ("helps", "harms")
    assert gain(base, base, rng=rng).verdict == "undecided"


def test_no_gain_is_seldom_taken_for_one():
    decided = []
    for seed in range(150):
        rng = np.random.default_rng(seed)
        per_seed, per_image = rng.normal(0, 0.2, (5, 1)), rng.normal(0, 0.5, (1, 60))
        differences = per_seed + per_image + rng.normal(0, 0.5, (5, 60))
        decided.append(gain(differences, np.zeros((5, 60)), resamples=300, rng=rng).verdict != "undecided")
    assert np.mean(decided) < 0.09


def test_several_comparisons_have_wider_intervals():
    rng = np.random.default_rng(0)
    losses = rng.exponential(size=(4, 50))
    one, four = (
        gain(losses, losses[::-1] * 0 + 1, comparisons=count, rng=np.random.default_rng(1)).interval for count in (1, 4)
    )
    assert four.low < one.low
    assert four.high > one.high


@pytest.mark.parametrize("shape", [((1, 5), (1, 5)), ((3, 5), (3, 4)), ((5,), (5,))])
def test_gains_of_other_shapes_are_refused(shape):
    with pytest.raises(InputError, match="at least two seeds"):
        gain(np.ones(shape[0]), np.ones(shape[1]), rng=np.random.default_rng(0))
