"""Balanced accuracy by task: by hand, against scikit-learn as MedMNIST-C's evaluation calls it, and bad input."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from snellen.core.errors import InputError, UnknownNameError
from snellen.metrics.classification import balanced_accuracy


def expected_of(labels, decisions) -> float:
    """scikit-learn's figure, without its warning about decisions for classes that do not occur."""
    metrics = pytest.importorskip("sklearn.metrics")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return float(metrics.balanced_accuracy_score(labels, decisions))


def test_by_hand() -> None:
    scores = [[0.8, 0.1, 0.1], [0.4, 0.5, 0.1], [0.2, 0.6, 0.2], [0.5, 0.5, 0.0]]  # decisions 0 1 1 0
    for task in ("multi-class", "ordinal-regression"):
        assert balanced_accuracy([0, 0, 1, 0], scores, task=task) == pytest.approx((2 / 3 + 1) / 2)
    # A threshold must be exceeded: the decisions are 0 0 1 1.
    assert balanced_accuracy([0, 1, 1, 1], [0.2, 0.5, 0.51, 1.0], task="binary-class") == pytest.approx((1 + 2 / 3) / 2)
    labels, sure = [[1, 0], [0, 0], [1, 1], [1, 1]], [[0.6, 0.3], [0.1, 0.2], [0.7, 0.4], [0.2, 0.9]]
    assert balanced_accuracy(labels, sure, task="multi-label") == pytest.approx(((1 + 2 / 3) / 2 + 0.75) / 2)
    assert balanced_accuracy(labels, sure, task="multi-label", threshold=[0.15, 0.35]) == 1


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 10_000), st.integers(2, 5), st.integers(1, 30))
def test_against_scikit_learn(seed: int, classes: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    scores = rng.dirichlet([1] * classes, n).round(1).clip(0, 1)
    labels, several = rng.integers(0, classes, n), rng.integers(0, 2, (n, classes))
    for task in ("multi-class", "ordinal-regression"):
        found = balanced_accuracy(labels, scores, task=task)
        assert found == pytest.approx(expected_of(labels, scores.argmax(-1)), abs=1e-12)
    limits = rng.random(classes).round(1)
    two = scores[:, :2]
    expected = expected_of(several[:, 0], two[:, -1] > limits[0])
    for given_scores in (two, two[:, 1]):
        found = balanced_accuracy(several[:, 0], given_scores, task="binary-class", threshold=limits[0])
        assert found == pytest.approx(expected, abs=1e-12)
    each = [expected_of(several[:, one], scores[:, one] > limits[one]) for one in range(classes)]
    found = balanced_accuracy(several.astype(bool), scores, task="multi-label", threshold=limits)
    assert found == pytest.approx(float(np.mean(each)), abs=1e-12)


def test_one_threshold_for_all_labels_is_that_threshold_for_each() -> None:
    rng = np.random.default_rng(0)
    labels, scores = rng.integers(0, 2, (50, 3)), rng.random((50, 3))
    each = balanced_accuracy(labels, scores, task="multi-label", threshold=[0.3, 0.3, 0.3])
    assert balanced_accuracy(labels, scores, task="multi-label", threshold=0.3) == each
    assert balanced_accuracy(labels, scores, task="multi-label") != each


def test_without_examples_there_is_no_figure() -> None:
    assert math.isnan(balanced_accuracy([], np.zeros((0, 3)), task="multi-class"))
    assert math.isnan(balanced_accuracy([], [], task="binary-class"))
    assert math.isnan(balanced_accuracy(np.zeros((0, 2)), np.zeros((0, 2)), task="multi-label"))


HALVES = [[0.5, 0.5], [0.5, 0.5]]


@pytest.mark.parametrize(
    ("labels", "scores", "task", "threshold", "message"),
    [
        ([[0], [1]], HALVES, "multi-class", 0.5, r"multi-class needs labels \(n,\) .* got \(2, 1\) and \(2, 2\)"),
        ([0, 1], [0.5, 0.5], "multi-class", 0.5, r"scores \(n, k\)"),
        ([0], HALVES, "ordinal-regression", 0.5, r"ordinal-regression needs .* got \(1,\) and \(2, 2\)"),
        ([0, 1], np.full((2, 8, 8, 3), 0.5), "multi-class", 0.5, r"got \(2,\) and \(2, 8, 8, 3\)"),
        ([], np.zeros((0, 0)), "multi-class", 0.5, r"got \(0,\) and \(0, 0\)"),
        ([0, 2], HALVES, "multi-class", 0.5, "labels must lie in 0 … 1"),
        ([0.0, 1.0], HALVES, "multi-class", 0.5, "labels must be integers"),
        ([0, 1], [[3.0, -1.0], [0.5, 0.5]], "multi-class", 0.5, "not logits"),
        ([0, 1], [[math.nan, 0.5], [0.5, 0.5]], "multi-class", 0.5, "not logits"),
        ([[0], [1]], [0.5, 0.5], "binary-class", 0.5, r"binary-class needs labels \(n,\)"),
        ([0, 1], np.full((2, 3), 0.3), "binary-class", 0.5, r"\(n,\) or \(n, 2\), got \(2,\) and \(2, 3\)"),
        ([0, 2], [0.5, 0.5], "binary-class", 0.5, "labels must lie in 0 … 1"),
        ([0.0, 1.0], [0.5, 0.5], "binary-class", 0.5, "labels must be integers"),
        ([0, 1], [0.5, 0.5], "binary-class", [0.5, 0.5], r"one threshold, got \(2,\)"),
        ([0, 1], [0.5, 0.5], "binary-class", 1.5, r"in \[0, 1\], got 1.5"),
        ([0, 1], [0.5, 0.5], "binary-class", math.nan, r"in \[0, 1\], got nan"),
        ([0, 1], HALVES, "multi-label", 0.5, r"multi-label needs labels and scores \(n, l\)"),
        ([[0, 1]], HALVES, "multi-label", 0.5, r"got \(1, 2\) and \(2, 2\)"),
        ([[0, 1], [0, 2]], HALVES, "multi-label", 0.5, "labels must lie in 0 … 1"),
        ([[0, 1], [0, 1]], HALVES, "multi-label", [0.5], r"2 labels need one threshold or 2, got \(1,\)"),
        ([[0, 1], [0, 1]], HALVES, "multi-label", [0.5, 0.5, 0.5], r"got \(3,\)"),
    ],
)
def test_refused(labels, scores, task, threshold, message: str) -> None:
    with pytest.raises(InputError, match=message):
        balanced_accuracy(labels, scores, task=task, threshold=threshold)


def test_unknown_task() -> None:
    with pytest.raises(
        UnknownNameError, match=r"unknown task 'multi-label, binary-class'; did you mean .*'multi-label'"
    ):
        balanced_accuracy([0], [[1.0]], task="multi-label, binary-class")  # type: ignore[arg-type]
