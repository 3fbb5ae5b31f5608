"""The line of standard models, and what lies above it: against scipy, by hand, and where there is nothing to fit."""

import numpy as np
import pytest
from scipy import stats
from scipy.special import expit, logit

from snellen.core.errors import InputError
from snellen.metrics.effective_robustness import MEAN, effective_robustness, fit_baseline

ID, SHIFT = "own", "sketch"


def rng(seed=0):
    return np.random.default_rng(seed)


def decisions(own, shifted, n=400):
    """A model with exactly these accuracies."""
    return {name: np.arange(n) < round(share * n) for name, share in ((ID, own), (SHIFT, shifted))}


POOL = [decisions(a, float(expit(1.2 * logit(a) - 1.0))) for a in (0.5, 0.6, 0.7, 0.8, 0.9)]


@pytest.mark.covers("6.5")
def test_the_line_is_that_of_least_squares_on_logit_scale():
    own, shifted = [0.41, 0.55, 0.63, 0.78, 0.9], [0.2, 0.33, 0.31, 0.5, 0.75]
    line = fit_baseline(own, shifted, images=(1000, 1000))
    found = stats.linregress(logit(own), logit(shifted))
    assert (line.slope, line.intercept) == pytest.approx((found.slope, found.intercept))
    assert line.expected(0.7) == pytest.approx(expit(found.slope * logit(0.7) + found.intercept))
    straight = stats.linregress(own, shifted)
    assert line.expected(0.7) != pytest.approx(straight.slope * 0.7 + straight.intercept, abs=1e-3)
    assert [line.extrapolated(one) for one in (0.4, 0.41, 0.9, 0.91)] == [True, False, False, True]


@pytest.mark.covers("6.5")
def test_a_model_on_the_line_has_none_and_one_above_it_has_its_distance():
    found = effective_robustness([POOL[2]], POOL, in_distribution=ID, rng=rng())[SHIFT]
    assert found.rho == pytest.approx(0, abs=0.003)
    expected = fit_baseline([0.5, 0.6, 0.7, 0.8, 0.9], [one[SHIFT].mean() for one in POOL], images=(400, 400))
    weak, good = decisions(0.6, 0.65), decisions(0.85, 0.65)
    of_weak, of_good = (
        effective_robustness([one], POOL, in_distribution=ID, base=[POOL[0]], rng=rng())[SHIFT] for one in (weak, good)
    )
    assert of_weak.rho == pytest.approx(0.65 - expected.expected(0.6))
    assert of_good.rho == pytest.approx(0.65 - expected.expected(0.85))
    assert of_weak.tau == of_good.tau == pytest.approx(0.65 - POOL[0][SHIFT].mean()), "the plain difference is not ρ"
    assert of_weak.rho > of_good.rho + 0.2


def test_a_line_needs_three_models_with_a_spread():
    with pytest.raises(InputError, match="at least 3 standard models, and there are 2"):
        effective_robustness([POOL[0]], POOL[:2], in_distribution=ID, rng=rng())
    with pytest.raises(InputError, match="at least 3 standard models, and there are 0"):
        fit_baseline([], [], images=(10, 10))
    with pytest.raises(InputError, match="all equally good"):
        fit_baseline([0.5, 0.5, 0.5], [0.2, 0.3, 0.4], images=(10, 10))
    with pytest.raises(InputError, match="shares in"):
        fit_baseline([50, 60, 70], [0.1, 0.2, 0.3], images=(10, 10))
    with pytest.raises(InputError, match="at least one shifted test set"):
        effective_robustness([{ID: POOL[0][ID]}], POOL, in_distribution=ID, rng=rng())
    with pytest.raises(InputError, match="the same images"):
        effective_robustness([decisions(0.5, 0.5, n=300)], POOL, in_distribution=ID, rng=rng())


@pytest.mark.covers("6.5")
def test_extrapolation_is_flagged_and_perfect_models_are_clipped():
    inside, beyond = (
        effective_robustness([decisions(own, 0.6)], POOL, in_distribution=ID, rng=rng()) for own in (0.7, 0.97)
    )
    assert not inside[SHIFT].extrapolated
    assert beyond[SHIFT].extrapolated
    assert beyond[MEAN].extrapolated
    perfect = [*POOL, decisions(1.0, 1.0), decisions(0.0, 0.0)]
    found = effective_robustness([decisions(1.0, 0.9)], perfect, in_distribution=ID, rng=rng())[SHIFT]
    assert np.isfinite([found.rho, *found.rho_interval]).all()
    line = fit_baseline([0.0, 0.5, 1.0], [0.0, 0.5, 1.0], images=(100, 100))
    assert (line.slope, line.intercept) == pytest.approx((1, 0))
    assert line.expected(0.995) == pytest.approx(0.995)


def drawn(own, shifted, n, seed):
    random = rng(seed)
    return {ID: random.random(n) < own, SHIFT: random.random(n) < shifted}


def test_the_interval_holds_the_truth_about_as_often_as_it_says_and_shrinks_with_images():
    accuracies = (0.5, 0.6, 0.7, 0.8, 0.9)
    truth = 0.6 - expit(1.2 * logit(0.7) - 1.0)
    held, widths = 0, {}
    for trial in range(60):
        pool = [drawn(a, expit(1.2 * logit(a) - 1.0), 300, [trial, row]) for row, a in enumerate(accuracies)]
        found = effective_robustness(
            [drawn(0.7, 0.6, 300, [trial, 9])], pool, in_distribution=ID, resamples=300, rng=rng(trial)
        )[SHIFT]
        held += found.rho_interval.low <= truth <= found.rho_interval.high
    assert held >= 51
    for n in (100, 1600):
        pool = [drawn(a, expit(1.2 * logit(a) - 1.0), n, row) for row, a in enumerate(accuracies)]
        low, high = effective_robustness([drawn(0.7, 0.6, n, 9)], pool, in_distribution=ID, rng=rng())[
            SHIFT
        ].rho_interval
        widths[n] = high - low
    assert widths[1600] == pytest.approx(widths[100] / 4, rel=0.4)


def test_models_of_a_kind_that_differ_widen_the_interval():
    alike = effective_robustness([decisions(0.7, 0.6)] * 3, POOL, in_distribution=ID, rng=rng())[SHIFT]
    differing = effective_robustness(
        [decisions(0.7, share) for share in (0.4, 0.6, 0.8)], POOL, in_distribution=ID, rng=rng()
    )[SHIFT]
    assert alike.rho == pytest.approx(differing.rho)
    assert np.diff(differing.rho_interval) > 2 * np.diff(alike.rho_interval)


def test_the_mean_is_over_the_shifts():
    pool = [{**one, "painting": one[SHIFT]} for one in POOL]
    model = {**decisions(0.7, 0.6), "painting": decisions(0.7, 0.3)[SHIFT]}
    found = effective_robustness([model], pool, in_distribution=ID, base=[pool[2]], rng=rng())
    for name in ("rho", "tau", "accuracy"):
        each = [getattr(found[shift], name) for shift in (SHIFT, "painting")]
        assert getattr(found[MEAN], name) == pytest.approx(np.mean(each))
