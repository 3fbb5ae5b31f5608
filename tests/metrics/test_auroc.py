"""Area under the ROC curve: by hand, against scikit-learn, with ties, and where there is none."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from snellen.core.errors import InputError
from snellen.metrics.auroc import auroc, macro_auroc, multilabel_auroc

#: Few distinct scores, so that ties are common.
rows = st.lists(st.tuples(st.integers(0, 1), st.sampled_from([-1e9, -0.5, -0.0, 0.0, 0.3, 2.0])), max_size=40)


def test_by_hand() -> None:
    assert auroc([0, 0, 1, 1], [1, 2, 3, 4]) == 1
    assert auroc([1, 1, 0, 0], [1, 2, 3, 4]) == 0
    # Pairs of a positive and a negative: (2, 1) won, (2, 2) tied, (3, 1) won, (3, 2) won.
    assert auroc([0, 0, 1, 1], [1, 2, 2, 3]) == 3.5 / 4
    assert auroc(np.array([False, True]), [7.0, 7.0]) == 0.5
    assert auroc([0, 1, 1], [-math.inf, -math.inf, math.inf]) == 0.75


@settings(deadline=None)
@given(rows)
def test_against_scikit_learn(case: list[tuple[int, float]]) -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    labels, scores = [label for label, _ in case], [score for _, score in case]
    if len(set(labels)) < 2:
        assert math.isnan(auroc(labels, scores))
    else:
        assert auroc(labels, scores) == pytest.approx(metrics.roc_auc_score(labels, scores), abs=1e-12)


@settings(deadline=None)
@given(rows, st.integers(0, 100))
def test_only_the_order_of_the_scores_matters(case: list[tuple[int, float]], seed: int) -> None:
    labels, scores = np.array([label for label, _ in case], dtype=int), np.array([score for _, score in case])
    order = np.random.default_rng(seed).permutation(len(case))
    area = auroc(labels, scores)
    assert auroc(labels[order], np.arctan(scores[order])) == pytest.approx(area, nan_ok=True, abs=0)
    assert auroc(1 - labels, scores) == pytest.approx(1 - area, nan_ok=True, abs=1e-15)


def test_many_scores_in_single_precision_against_scikit_learn() -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(0)
    labels, scores = rng.integers(0, 2, 20_000), rng.normal(size=20_000).astype(np.float32).round(3)
    assert auroc(labels, scores) == pytest.approx(metrics.roc_auc_score(labels, scores), abs=1e-12)


def test_means_against_scikit_learn() -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(1)
    labels, scores = rng.choice(4, 200, p=[0.7, 0.2, 0.05, 0.05]), rng.dirichlet([1, 1, 1, 1], 200).round(2)
    each = [metrics.roc_auc_score(labels == one, scores[:, one]) for one in range(4)]
    found = macro_auroc(labels, scores)
    assert found.each == pytest.approx(each, abs=1e-12)
    assert (found.value, found.counted) == (pytest.approx(float(np.mean(each)), abs=1e-12), 4)
    several = rng.integers(0, 2, (200, 4))
    each = [metrics.roc_auc_score(several[:, one], scores[:, one]) for one in range(4)]
    found = multilabel_auroc(several, scores)
    assert found.each == pytest.approx(each, abs=1e-12)
    assert found.value == pytest.approx(float(np.mean(each)), abs=1e-12)


def test_classes_without_an_area_are_left_out_and_reported() -> None:
    scores = [[0.9, 0.1, 0.0], [0.2, 0.8, 0.0], [0.5, 0.5, 0.0]]
    found = macro_auroc([0, 1, 1], scores)
    assert (found.each[:2], found.value, found.counted) == ((1.0, 1.0), 1.0, 2)
    assert math.isnan(found.each[2])
    found = multilabel_auroc([[0, 1, 0], [1, 1, 0], [0, 1, 1]], scores)
    assert (found.each[0], found.each[2], found.value, found.counted) == (0.0, 0.5, 0.25, 2)
    assert math.isnan(found.each[1])


@pytest.mark.parametrize("labels", [[], [1, 1]])
def test_nothing_to_measure(labels: list[int]) -> None:
    scores = np.full((len(labels), 2), 0.5)
    found = macro_auroc(labels, scores)
    assert (math.isnan(found.value), found.counted) == (True, 0)
    found = multilabel_auroc(np.ones((len(labels), 2), dtype=int), scores)
    assert (math.isnan(found.value), found.counted) == (True, 0)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: auroc([0, 1], [0.5]), r"both be \(n,\), got \(2,\) and \(1,\)"),
        (lambda: auroc([[0], [1]], [[0.5], [0.1]]), r"both be \(n,\)"),
        (lambda: auroc([0, 2], [0.5, 0.1]), r"0 or 1 \(or bool\), got int64 with \[0, 2\]"),
        (lambda: auroc([0.0, 1.0], [0.5, 0.1]), "0 or 1"),
        (lambda: auroc([0, 1], [0.5, math.nan]), "1 of 2 scores are NaN"),
        (lambda: macro_auroc([0, 1], [0.5, 0.1]), r"expected labels \(n,\) and scores \(n, k\)"),
        (lambda: macro_auroc([[0], [1]], [[0.5, 0.5], [0.1, 0.9]]), r"got \(2, 1\) and \(2, 2\)"),
        (lambda: macro_auroc([0], [[0.5, 0.5], [0.1, 0.9]]), r"got \(1,\) and \(2, 2\)"),
        (lambda: macro_auroc([], np.zeros((0, 0))), r"got \(0,\) and \(0, 0\)"),
        (lambda: macro_auroc([0, 2], [[0.5, 0.5], [0.1, 0.9]]), "integers from 0 to 1"),
        (lambda: macro_auroc([0, -1], [[0.5, 0.5], [0.1, 0.9]]), "integers from 0 to 1"),
        (lambda: macro_auroc([0.0, 1.0], [[0.5, 0.5], [0.1, 0.9]]), "integers from 0 to 1"),
        (lambda: macro_auroc([0, 1], [[0.5, math.nan], [0.1, 0.9]]), "1 of 4 scores are NaN"),
        (lambda: multilabel_auroc([0, 1], [0.5, 0.1]), r"both be \(n, l\)"),
        (lambda: multilabel_auroc([[0, 1]], [[0.5]]), r"got \(1, 2\) and \(1, 1\)"),
        (lambda: multilabel_auroc([[0, 3]], [[0.5, 0.1]]), "0 or 1"),
        (lambda: multilabel_auroc([[0, 1]], [[math.nan, 0.1]]), "NaN"),
    ],
)
def test_refused(call, message: str) -> None:
    with pytest.raises(InputError, match=message):
        call()
