"""Several labels for an image: against scikit-learn and the balanced accuracy of the task, merged, and degenerate."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from snellen.core.errors import InputError
from snellen.metrics.classification import balanced_accuracy
from snellen.metrics.multilabel import MultilabelCounts
from snellen.metrics.operating_point import OperatingPoint

tables = array_shapes(min_dims=2, max_dims=2, max_side=8).flatmap(
    lambda shape: st.tuples(arrays(np.int64, shape, elements=st.integers(0, 1)), arrays(np.bool_, shape))
)


def as_lists(counts: MultilabelCounts) -> list[object]:
    cells = counts.true_positives, counts.false_positives, counts.true_negatives, counts.false_negatives
    return [counts.exact, *(cell.tolist() for cell in cells)]


@settings(max_examples=40)
@given(tables)
def test_against_scikit_learn(case: tuple[np.ndarray, np.ndarray]) -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    labels, decisions = case[0], case[1].astype(int)
    counts = MultilabelCounts.of(labels, case[1])
    truth, given_labels = (np.pad(table, ((0, 0), (0, 1))) for table in (labels, decisions))  # never a single column
    table = metrics.multilabel_confusion_matrix(truth, given_labels)[:-1]
    assert counts.true_positives.tolist() == table[:, 1, 1].tolist()
    assert counts.false_positives.tolist() == table[:, 0, 1].tolist()
    assert counts.true_negatives.tolist() == table[:, 0, 0].tolist()
    assert counts.false_negatives.tolist() == table[:, 1, 0].tolist()
    each = metrics.precision_recall_fscore_support(truth, given_labels, average=None, zero_division=np.nan)
    for found, expected in zip((counts.precision, counts.sensitivity, counts.f1), each, strict=False):
        assert found == pytest.approx(expected[:-1], abs=1e-12, nan_ok=True)
    for average, found in (("macro", counts.macro_f1), ("micro", counts.micro_f1)):
        expected = metrics.f1_score(truth, given_labels, average=average, zero_division=np.nan)
        assert found == pytest.approx(expected, abs=1e-12, nan_ok=True)
    assert counts.exact_match == pytest.approx(metrics.accuracy_score(truth, given_labels), abs=1e-12)
    assert counts.hamming_accuracy == pytest.approx(float((labels == decisions).mean()), abs=1e-12)
    assert counts.n == len(labels)


@settings(max_examples=40)
@given(tables)
def test_balanced_accuracy_is_that_of_the_task(case: tuple[np.ndarray, np.ndarray]) -> None:
    labels, decisions = case
    counts = MultilabelCounts.of(labels, decisions)
    for one in range(labels.shape[1]):
        expected = balanced_accuracy(labels[:, one], decisions[:, one].astype(float), task="binary-class")
        assert counts.balanced_accuracy[one] == pytest.approx(expected, abs=1e-12)
    expected = balanced_accuracy(labels, decisions.astype(float), task="multi-label")
    assert float(counts.balanced_accuracy.mean()) == pytest.approx(expected, abs=1e-12)


@settings(max_examples=40)
@given(tables, st.lists(st.integers(0, 8), max_size=3), st.integers(0, 100))
def test_shards_in_any_order_give_the_whole(case: tuple[np.ndarray, np.ndarray], cuts: list[int], seed: int) -> None:
    labels, decisions = case
    order = np.random.default_rng(seed).permutation(len(labels))
    merged = MultilabelCounts.of(labels[:0], decisions[:0])
    for shard in np.split(order, sorted(min(cut, len(labels)) for cut in cuts)):
        merged = MultilabelCounts.of(labels[shard], decisions[shard]) + merged
    assert as_lists(merged) == as_lists(MultilabelCounts.of(labels, decisions))


def test_by_hand() -> None:
    counts = MultilabelCounts.of(
        [[1, 0, 0], [1, 1, 0], [0, 0, 0], [0, 1, 0]], [[1, 0, 0], [0, 1, 0], [1, 0, 0], [0, 0, 0]]
    )
    assert counts.sensitivity[:2].tolist() == [0.5, 0.5]
    assert counts.specificity.tolist() == [0.5, 1, 1]
    assert counts.f1[:2].tolist() == [0.5, 2 / 3]
    assert np.isnan([counts.sensitivity[2], counts.precision[2], counts.f1[2]]).all()
    assert counts.macro_f1 == pytest.approx((1 / 2 + 2 / 3) / 2)
    assert counts.micro_f1 == pytest.approx(4 / 7)
    assert (counts.hamming_accuracy, counts.exact_match) == (9 / 12, 1 / 4)
    assert counts.balanced_accuracy.tolist() == [0.5, 0.75, 1]
    assert counts.operating_point(0) == OperatingPoint(
        true_positives=1, false_positives=1, true_negatives=1, false_negatives=1
    )
    assert counts.exact_match_interval.low < 0.25 < counts.exact_match_interval.high


def test_nothing_counted() -> None:
    empty = MultilabelCounts.of(np.zeros((0, 2), dtype=int), np.zeros((0, 2), dtype=bool))
    assert empty.n == 0
    each = np.concatenate((empty.sensitivity, empty.specificity, empty.precision, empty.f1, empty.balanced_accuracy))
    assert np.isnan(each).all()
    assert np.isnan([empty.macro_f1, empty.micro_f1, empty.hamming_accuracy, empty.exact_match]).all()
    assert empty.exact_match_interval == (0, 1)


def test_labels_of_one_value_only() -> None:
    counts = MultilabelCounts.of([[1, 0], [1, 0]], [[1, 0], [0, 0]])
    assert math.isnan(counts.specificity[0])
    assert counts.balanced_accuracy.tolist() == [0.5, 1]


ONE = MultilabelCounts.of([[1]], [[1]])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: MultilabelCounts.of([1, 0], [[1, 0]]), r"labels must be \(n, l\) with at least one label, got \(2,\)"),
        (lambda: MultilabelCounts.of([[1, 0]], [1, 0]), r"decisions must be \(n, l\)"),
        (lambda: MultilabelCounts.of(np.zeros((3, 0), dtype=int), np.zeros((3, 0), dtype=int)), r"got \(3, 0\)"),
        (lambda: MultilabelCounts.of([[1, 0]], [[1, 0], [1, 0]]), r"labels are \(1, 2\), but decisions \(2, 2\)"),
        (lambda: MultilabelCounts.of([[2]], [[1]]), "labels must be 0 or 1"),
        (lambda: MultilabelCounts.of([[1]], [[0.7]]), "decide probabilities by a threshold"),
        (lambda: ONE + MultilabelCounts.of([[1, 0]], [[1, 0]]), "of 1 and of 2 labels cannot be added"),
        (lambda: ONE.operating_point(1), "label 1 is not one of 0 … 0"),
    ],
)
def test_refused(call: Callable[[], object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        call()
