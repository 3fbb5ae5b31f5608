"""Figures of unlearning against an independent support vector machine and by hand."""

import numpy as np
import pytest

from snellen.core.errors import InputError
from snellen.metrics import scalar_svm, unlearning
from snellen.metrics.scalar_svm import fit_scalar_svm
from snellen.metrics.unlearning import MOST, average_gap, membership_attack, set_overlap


@pytest.mark.smoke
@pytest.mark.parametrize("seed", range(4))
def test_the_machine_is_that_of_scikit_learn(seed):
    svm = pytest.importorskip("sklearn.svm")
    rng = np.random.default_rng(seed)
    values = np.concatenate([rng.beta(8, 1, 120), rng.beta(3, 1, 90)])
    positive = np.arange(len(values)) < 120
    machine = fit_scalar_svm(values, positive, penalty=3.0)
    oracle = svm.SVC(C=3, kernel="rbf", gamma="auto").fit(values[:, None], positive)
    asked = np.linspace(0, 1, 300)
    assert machine.decide(asked) == pytest.approx(oracle.decision_function(asked[:, None]), abs=2e-3)


def test_a_machine_needs_both_classes_and_finite_values():
    for values, positive in (([0.1, 0.2], [True, True]), ([0.1, np.nan], [True, False]), ([0.1], [True, False])):
        with pytest.raises(InputError):
            fit_scalar_svm(values, positive)


@pytest.mark.covers("24.9")
def test_the_attack_has_as_many_members_as_non_members_and_no_forget_image(monkeypatch):
    fitted = []

    def fit(values, positive, **options):
        fitted.append((values, positive))
        return fit_scalar_svm(values, positive, **options)

    monkeypatch.setattr(unlearning, "fit_scalar_svm", fit)
    rng = np.random.default_rng(0)
    members, others, forgotten = rng.uniform(0.8, 0.9, 500), rng.uniform(0.1, 0.2, 70), rng.uniform(0.4, 0.5, 30)
    attack = membership_attack(members, others, forgotten)
    ((values, positive),) = fitted
    assert positive.sum() == (~positive).sum() == attack.fitted_to == 70
    assert set(values[positive]) <= set(members)
    assert set(values[~positive]) == set(others)
    assert not set(values) & set(forgotten)
    assert len(attack.non_member) == 30


def test_members_are_drawn_from_all_rows_and_not_the_first_ones():
    # Sorted by class: the first rows are all alike.
    members = np.concatenate([np.full(1000, 0.9), np.full(1000, 0.5)])
    drawn = {seed: membership_attack(members, np.full(50, 0.2), [0.5], seed=seed) for seed in (0, 0, 1)}
    assert not drawn[0].non_member[0], "half of the members have this probability"


def test_no_more_are_fitted_to_than_time_allows():
    rng = np.random.default_rng(0)
    assert membership_attack(rng.random(3 * MOST), rng.random(2 * MOST), [0.5]).fitted_to == MOST


def test_an_empty_set_is_refused():
    with pytest.raises(InputError, match="got 2, 0 and 1"):
        membership_attack([0.1, 0.2], [], [0.3])


def test_a_gap_is_the_mean_over_the_four_figures():
    exact = {"unlearning": 0.05, "membership": 0.10, "remaining": 1.0, "test": 0.90, "separation": 0.0}
    method = {"unlearning": 0.00, "membership": 0.30, "remaining": 0.9, "test": 0.95, "separation": 1.0}
    assert average_gap(method, exact) == pytest.approx((0.05 + 0.2 + 0.1 + 0.05) / 4)
    assert average_gap(exact, exact) == 0


def test_an_overlap_is_a_share_of_the_smaller_set():
    assert set_overlap([1, 2], [2, 3, 4, 5]) == 0.5
    with pytest.raises(InputError, match="two sets"):
        set_overlap([], [1])


def test_a_machine_that_does_not_converge_is_a_warning(monkeypatch):
    monkeypatch.setattr(scalar_svm, "FEWEST_STEPS", 1)
    rng = np.random.default_rng(0)
    values = rng.uniform(size=200)
    with pytest.warns(UserWarning, match="on 200 numbers did not converge within"):
        fit_scalar_svm(values, rng.uniform(size=200) > 0.5, penalty=1e6)
