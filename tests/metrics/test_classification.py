"""Confusion counts: by hand, against scikit-learn, merged from shards, in any order."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from snellen.core.errors import InputError
from snellen.metrics.classification import ConfusionCounts
from snellen.metrics.intervals import wilson


def test_by_hand() -> None:
    counts = ConfusionCounts.of([0, 0, 0, 1, 1, 2], [0, 0, 1, 1, 1, 0], 4)
    assert counts.table.tolist() == [[2, 1, 0, 0], [0, 2, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0]]
    assert (counts.n, counts.support.tolist(), counts.correct.tolist()) == (6, [3, 2, 1, 0], [2, 2, 0, 0])
    assert counts.accuracy == pytest.approx(4 / 6)
    assert counts.accuracy_interval == wilson(4, 6)
    assert counts.recall[:3].tolist() == pytest.approx([2 / 3, 1, 0])
    assert np.isnan(counts.recall[3])
    assert counts.precision[:2].tolist() == pytest.approx([2 / 3, 2 / 3])
    assert np.isnan(counts.precision[2:]).all()
    assert counts.balanced_accuracy == pytest.approx((2 / 3 + 1 + 0) / 3)
    assert counts.recall_intervals(0.9) == [wilson(2, 3, 0.9), wilson(2, 2, 0.9), wilson(0, 1, 0.9), (0, 1)]


pairs = st.integers(2, 5).flatmap(
    lambda k: st.tuples(
        st.just(k), st.lists(st.tuples(st.integers(0, k - 1), st.integers(0, k - 1)), min_size=1, max_size=40)
    )
)


@settings(deadline=None)
@given(pairs)
def test_against_scikit_learn(case: tuple[int, list[tuple[int, int]]]) -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    k, rows = case
    labels, predictions = (list(column) for column in zip(*rows, strict=True))
    counts = ConfusionCounts.of(labels, predictions, k)
    assert counts.table.tolist() == metrics.confusion_matrix(labels, predictions, labels=range(k)).tolist()
    assert counts.accuracy == pytest.approx(metrics.accuracy_score(labels, predictions), abs=1e-12)
    each = metrics.precision_recall_fscore_support(labels, predictions, labels=range(k), average=None, zero_division=0)
    for found, expected in zip((counts.precision, counts.recall, counts.f1, counts.support), each, strict=True):
        assert np.nan_to_num(found) == pytest.approx(expected, abs=1e-12)
    macro = metrics.precision_recall_fscore_support(labels, predictions, average="macro", zero_division=0)
    found = (counts.macro_precision, counts.macro_recall, counts.macro_f1)
    assert found == pytest.approx(macro[:3], abs=1e-12)
    present = [expected for expected, support in zip(each[1], each[3], strict=True) if support]
    assert counts.balanced_accuracy == pytest.approx(float(np.mean(present)), abs=1e-12)


def test_balanced_accuracy_against_scikit_learn() -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(0)
    labels, predictions = rng.choice(4, 300, p=[0.7, 0.2, 0.05, 0.05]), rng.integers(0, 4, 300)
    expected = metrics.balanced_accuracy_score(labels, predictions)
    assert ConfusionCounts.of(labels, predictions, 4).balanced_accuracy == pytest.approx(expected, abs=1e-12)


@settings(deadline=None)
@given(pairs, st.lists(st.integers(0, 40), max_size=4), st.integers(0, 100))
def test_shards_in_any_order_give_the_whole(
    case: tuple[int, list[tuple[int, int]]], cuts: list[int], seed: int
) -> None:
    k, rows = case
    whole = ConfusionCounts.of([a for a, _ in rows], [b for _, b in rows], k)
    order = np.random.default_rng(seed).permutation(len(rows))
    merged = ConfusionCounts.of([], [], k)
    for shard in np.split(order, sorted(min(cut, len(rows)) for cut in cuts)):
        merged = merged + ConfusionCounts.of([rows[i][0] for i in shard], [rows[i][1] for i in shard], k)
    assert merged.table.tolist() == whole.table.tolist()


@settings(deadline=None)
@given(pairs, st.integers(0, 100))
def test_names_of_classes_do_not_matter(case: tuple[int, list[tuple[int, int]]], seed: int) -> None:
    k, rows = case
    renamed = np.random.default_rng(seed).permutation(k)
    first = ConfusionCounts.of([a for a, _ in rows], [b for _, b in rows], k)
    second = ConfusionCounts.of([renamed[a] for a, _ in rows], [renamed[b] for _, b in rows], k)
    assert second.accuracy == first.accuracy
    for name in ("balanced_accuracy", "macro_recall", "macro_precision", "macro_f1"):
        assert getattr(second, name) == pytest.approx(getattr(first, name), abs=1e-12)


def test_nothing_counted() -> None:
    counts = ConfusionCounts.of([], [], 3)
    assert math.isnan(counts.accuracy)
    assert math.isnan(counts.balanced_accuracy)
    assert math.isnan(counts.macro_f1)
    assert counts.accuracy_interval == (0, 1)


@pytest.mark.parametrize(
    ("labels", "predictions", "classes", "message"),
    [
        ([0], [0], 0, "at least one class"),
        ([0, 1], [0], 2, "2 labels, but 1 predictions"),
        ([2], [0], 2, r"labels must lie in 0 … 1, got 2 to 2"),
        ([0], [-1], 2, r"predictions must lie in 0 … 1"),
        ([0.0], [0], 2, "labels must be integers"),
        ([[0]], [[0]], 2, "labels must be integers"),
    ],
)
def test_refused(labels: list[int], predictions: list[int], classes: int, message: str) -> None:
    with pytest.raises(InputError, match=message):
        ConfusionCounts.of(labels, predictions, classes)


def test_counts_of_other_sizes_cannot_be_added() -> None:
    with pytest.raises(InputError, match="counts of 2 and of 3 classes"):
        _ = ConfusionCounts.of([], [], 2) + ConfusionCounts.of([], [], 3)
