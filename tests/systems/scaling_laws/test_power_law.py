"""The law: known exponents, saturation left out by a rule, intervals that cover, differences that are tested."""

import math

import numpy as np
import pytest
from scipy import stats

from snellen.core.errors import InputError
from snellen.systems.scaling_laws.power_law import curved, exponent_difference, fit_power_law
from snellen.systems.scaling_laws.scaling_run import ScalingRun
from tests.systems.scaling_laws.scaled_runs import SIZES, runs


def rng(seed=0):
    return np.random.default_rng(seed)


@pytest.mark.covers("14.4")
def test_the_law_is_of_the_loss_in_log_log_and_equals_least_squares():
    noisy = runs(0.4, noise=0.1)
    law = fit_power_law(noisy, size_range=(8, 256), rng=rng())
    x, y = np.log([run.size for run in noisy]), np.log([run.loss for run in noisy])
    oracle = stats.linregress(x, y)
    assert law.k == pytest.approx(-oracle.slope)
    assert law.a == pytest.approx(math.exp(oracle.intercept))
    assert law.r_squared == pytest.approx(oracle.rvalue**2)
    assert (law.used, law.dropped, law.range) == (SIZES, (), (8, 256))
    # Accuracy plays no part.
    other = [run.model_copy(update={"accuracy": 0.9}) for run in noisy]
    assert fit_power_law(other, size_range=(8, 256), rng=rng()).k == law.k


@pytest.mark.covers("14.4")
def test_sizes_at_which_the_loss_saturates_are_left_out_by_the_rule_and_named():
    saturated = runs(0.8, a=4.0, floor=0.15, noise=0.01)
    law = fit_power_law(saturated, rng=rng())
    assert law.dropped
    assert law.used + law.dropped == SIZES
    assert law.used == SIZES[: len(law.used)]
    assert len(law.used) >= 3
    everything = fit_power_law(saturated, size_range=(8, 256), rng=rng())
    assert abs(law.k - 0.8) < abs(everything.k - 0.8), "nearer to the exponent before the floor"
    pure = fit_power_law(runs(0.8, noise=0.01), rng=rng())
    assert pure.dropped == ()
    assert not pure.still_curved


def test_curvature_downwards_drops_nothing():
    sizes = np.repeat(np.array(SIZES, dtype=float), 4)
    bent = np.exp(-0.1 * np.log(sizes) ** 2 + 0.005 * rng().standard_normal(len(sizes)))
    term, significant = curved(sizes, bent, np.array(SIZES, dtype=float))
    assert term < 0
    assert not significant
    term, significant = curved(sizes, 1 / bent, np.array(SIZES, dtype=float))
    assert term > 0
    assert significant


def test_the_rule_has_its_level_where_there_is_no_saturation():
    dropped = [bool(fit_power_law(runs(0.4, noise=0.1, seed=s), resamples=2, rng=rng()).dropped) for s in range(200)]
    assert 0.01 < np.mean(dropped) < 0.11


def test_three_sizes_are_the_fewest_and_say_where_they_are_still_curved():
    law = fit_power_law(runs(1.0, a=4, floor=0.5, noise=0.001, sizes=(8, 32, 128)), rng=rng())
    assert law.used == (8, 32, 128)
    assert law.still_curved


@pytest.mark.covers("14.5")
def test_the_interval_of_k_covers_it():
    covered = []
    for seed in range(120):
        low, high = fit_power_law(
            runs(0.4, noise=0.15, seed=seed), size_range=(8, 256), resamples=200, rng=rng(seed)
        ).k_interval
        covered.append(low <= 0.4 <= high)
    assert 0.86 < np.mean(covered) <= 1.0
    narrow, wide = (fit_power_law(runs(0.4, noise=n), rng=rng()).k_interval for n in (0.02, 0.2))
    assert wide.high - wide.low > 3 * (narrow.high - narrow.low)


@pytest.mark.covers("14.5")
def test_a_difference_of_exponents_is_tested_on_common_sizes():
    value, interval = exponent_difference(runs(0.5, noise=0.05), runs(0.3, noise=0.05, seed=1), rng=rng())
    assert value == pytest.approx(0.2, abs=0.05)
    assert interval.low > 0
    _, interval = exponent_difference(runs(0.4, noise=0.05), runs(0.4, noise=0.05, seed=2), rng=rng())
    assert interval.low < 0 < interval.high
    # A size that only one of them has plays no part.
    further = [*runs(0.5), *runs(0.1, a=9, sizes=(1024,))]
    assert exponent_difference(further, runs(0.5), rng=rng())[0] == pytest.approx(0, abs=1e-9)
    with pytest.raises(InputError, match="at least 3 common sizes; there are 2"):
        exponent_difference(runs(0.5, sizes=(8, 16, 32)), runs(0.5, sizes=(16, 32, 64)), rng=rng())


def test_the_law_gives_losses_with_an_interval():
    law = fit_power_law(runs(0.4, noise=0.05), size_range=(8, 256), rng=rng())
    low, high = law.loss_interval(64)
    assert low < law.loss(64) < high
    assert law.loss(64) == pytest.approx(2 * 64**-0.4, rel=0.1)


@pytest.mark.parametrize(
    ("made", "message"),
    [
        ([], "no runs"),
        (runs(0.4, sizes=(8, 16)), "at least 3 sizes, and there are 2"),
        ([*runs(0.4), *runs(0.4, config="other")], "of one configuration"),
        ([*runs(0.4), *runs(0.4, test="sketch")], "on one test set"),
        ([*runs(0.4), ScalingRun(config="made", size=8, seed=0, loss=math.nan, accuracy=0)], "the loss is nan"),
        ([*runs(0.4), ScalingRun(config="made", size=8, seed=0, loss=0, accuracy=0)], "positive numbers"),
    ],
)
def test_what_no_curve_can_be_fitted_to(made, message):
    with pytest.raises(InputError, match=message):
        fit_power_law(made, rng=rng())
