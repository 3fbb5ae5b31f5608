"""One pooled question: does the order of classifiers change with strength, beyond what chance gives."""

import numpy as np
import pytest

from snellen.core.errors import InputError
from snellen.systems.continuous_nuisance.robustness import order_shift, paired_losses
from tests.systems.continuous_nuisance.answers import evidence_of

GRID = (0.0, 1.0)


def drawn(first, last, count=200, seed=0):
    """Answers of two classifiers with these accuracies at both strengths."""
    rng = np.random.default_rng(seed)
    return {
        name: np.stack([rng.random(count) < first[at], rng.random(count) < last[at]], 1).astype(int).tolist()
        for at, name in enumerate("ab")
    }


def test_an_order_that_turns_round_is_found():
    evidence = evidence_of({"fog": drawn((0.9, 0.6), (0.3, 0.6))}, GRID)
    found = order_shift(evidence, ["fog"], ["a", "b"])
    assert found.distance == 1.0
    assert found.turned == pytest.approx(0.3, abs=0.06)
    assert found.chance < 0.1
    assert found.p == pytest.approx(1 / 1001)


def test_an_order_that_stays_is_not_although_all_lose():
    shifts = {f"shift {row}": drawn((0.95, 0.8), (0.5, 0.3), seed=row) for row in range(4)}
    found = order_shift(evidence_of(shifts, GRID), list(shifts), ["a", "b"])
    assert found.distance == found.turned == 0.0
    assert found.p == 1.0


def test_equal_classifiers_differ_by_chance_alone():
    found = []
    for seed in range(20):
        shifts = {f"shift {row}": drawn((0.7, 0.7), (0.7, 0.7), count=60, seed=100 * seed + row) for row in range(4)}
        found.append(order_shift(evidence_of(shifts, GRID), list(shifts), ["a", "b"], draws=100))
    assert abs(np.mean([one.turned - one.chance for one in found])) < 0.015
    assert np.mean([one.p < 0.1 for one in found]) <= 0.3


def test_nothing_to_compare_is_none_and_other_trajectories_are_refused():
    evidence = evidence_of({"fog": {"a": [[1, 1]], "b": [[1, 0]]}}, GRID)
    assert order_shift(evidence, [], ["a", "b"]) is None
    assert order_shift(evidence, ["fog"], ["a"]) is None
    assert paired_losses(evidence, [], ["a", "b"]) is None
    other = evidence_of({"fog": {"a": [[1, 1], [1, 1]], "b": [[1, 0]]}}, GRID)
    with pytest.raises(InputError, match="on the same trajectories"):
        order_shift(other, ["fog"], ["a", "b"])
    with pytest.raises(InputError, match="on the same trajectories"):
        paired_losses(other, ["fog"], ["a", "b"])
