"""One decision against a set of right answers."""

from __future__ import annotations

import math

import numpy as np
import pytest

from snellen.core.errors import InputError
from snellen.metrics.intervals import wilson
from snellen.metrics.multilabel import SetCounts


def test_counts_what_the_set_holds_and_leaves_empty_sets_out() -> None:
    rng = np.random.default_rng(0)
    sets, decisions = rng.random((300, 7)) < 0.2, rng.integers(0, 7, 300)
    counts = SetCounts.of(decisions, sets)
    by_hand = [sets[row, decisions[row]] for row in range(300) if sets[row].any()]
    assert (counts.right, counts.n, counts.left_out) == (sum(by_hand), len(by_hand), 300 - len(by_hand))
    assert counts.accuracy == pytest.approx(np.mean(by_hand))
    assert counts.interval() == wilson(counts.right, counts.n)
    parts = [SetCounts.of(decisions[start::3], sets[start::3]) for start in range(3)]
    assert parts[0] + parts[1] + parts[2] == counts


def test_one_label_each_is_plain_accuracy() -> None:
    labels, decisions = np.array([0, 1, 2, 1]), np.array([0, 2, 2, 1])
    assert SetCounts.of(decisions, np.eye(3, dtype=int)[labels]).accuracy == 0.75
    assert math.isnan(SetCounts.of([], np.zeros((0, 3))).accuracy)


@pytest.mark.parametrize(
    ("decisions", "sets", "match"),
    [
        ([0, 1], [[1, 0]], r"got \(2,\) and \(1, 2\)"),
        ([2], [[1, 0]], "from 0 to 1"),
        ([-1], [[1, 0]], "from 0 to 1"),
        ([0.5], [[1, 0]], "class indices"),
        ([0], [[2, 0]], "0 and 1 only"),
    ],
)
def test_refuses_what_cannot_be_counted(decisions: list[float], sets: list[list[int]], match: str) -> None:
    with pytest.raises(InputError, match=match):
        SetCounts.of(decisions, sets)
