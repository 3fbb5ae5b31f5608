"""Counts at each score: against scikit-learn and plain search over thresholds, merged in any order, and degenerate."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from snellen.core.errors import InputError
from snellen.metrics.auroc import auroc
from snellen.metrics.discrimination import ScoreCounts

#: Few distinct scores, so that ties are common; zero has both signs.
rows = st.lists(st.tuples(st.integers(0, 1), st.sampled_from([-math.inf, -0.5, -0.0, 0.0, 0.3, 2.0])), max_size=40)
both = rows.filter(lambda case: len({label for label, _ in case}) == 2)
finite = both.map(lambda case: [(label, max(score, -9.0)) for label, score in case])
shares = st.sampled_from([0.0, 0.25, 1 / 3, 0.5, 0.9, 0.95, 1.0]) | st.floats(0, 1)


def counted(case: list[tuple[int, float]]) -> ScoreCounts:
    return ScoreCounts.of(np.array([label for label, _ in case], dtype=int), [score for _, score in case])


def as_bytes(counts: ScoreCounts) -> list[bytes]:
    return [array.tobytes() for array in (counts.scores, counts.positives, counts.negatives)]


def test_by_hand() -> None:
    counts = ScoreCounts.of([0, 1, 0, 1, 1], [0.1, 0.2, 0.3, 0.3, 0.9])
    roc, precision_recall = counts.roc_points(), counts.precision_recall_points()
    assert roc.thresholds.tolist() == [math.inf, 0.9, 0.3, 0.2, 0.1]
    assert roc.sensitivity.tolist() == [0, 1 / 3, 2 / 3, 1, 1]
    assert roc.false_positive_rate.tolist() == [0, 0, 0.5, 0.5, 1]
    assert precision_recall.thresholds.tolist() == [0.9, 0.3, 0.2, 0.1]
    assert precision_recall.precision.tolist() == [1, 2 / 3, 3 / 4, 3 / 5]
    assert precision_recall.recall.tolist() == [1 / 3, 2 / 3, 1, 1]
    assert counts.average_precision == pytest.approx((1 + 2 / 3 + 3 / 4) / 3)
    assert (counts.n, counts.prevalence) == (5, 0.6)
    assert (counts.youden_threshold, counts.youden_index) == (0.2, 0.5)
    assert (counts.threshold_at_specificity(0.5), counts.sensitivity_at_specificity(0.5)) == (0.2, 1)
    assert (counts.threshold_at_specificity(0.51), counts.sensitivity_at_specificity(0.51)) == (0.9, 1 / 3)
    assert (counts.threshold_at_sensitivity(0.5), counts.specificity_at_sensitivity(0.5)) == (0.2, 0.5)
    assert (counts.threshold_at_sensitivity(0), counts.specificity_at_sensitivity(0)) == (0.9, 1)


@given(finite)
def test_against_scikit_learn(case: list[tuple[int, float]]) -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    labels, scores = (list(column) for column in zip(*case, strict=True))
    counts = counted(case)
    assert counts.auroc == pytest.approx(metrics.roc_auc_score(labels, scores), abs=1e-12)
    assert counts.average_precision == pytest.approx(metrics.average_precision_score(labels, scores), abs=1e-12)
    false_positive_rate, sensitivity, thresholds = metrics.roc_curve(labels, scores, drop_intermediate=False)
    roc = counts.roc_points()
    assert roc.thresholds.tolist() == thresholds.tolist()
    assert roc.sensitivity == pytest.approx(sensitivity, abs=1e-12)
    assert roc.false_positive_rate == pytest.approx(false_positive_rate, abs=1e-12)
    precision, recall, thresholds = metrics.precision_recall_curve(labels, scores)
    found = counts.precision_recall_points()
    assert found.thresholds[::-1].tolist() == thresholds.tolist()
    assert found.precision[::-1] == pytest.approx(precision[:-1], abs=1e-12)
    assert found.recall[::-1] == pytest.approx(recall[:-1], abs=1e-12)
    assert counts.youden_index == pytest.approx((sensitivity - false_positive_rate).max(), abs=1e-12)


def test_many_scores_against_scikit_learn() -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(0)
    labels = rng.random(50_000) < 0.1
    scores = (rng.normal(size=50_000) + labels).astype(np.float32)
    counts = ScoreCounts.of(labels, scores)
    assert counts.auroc == auroc(labels, scores)
    assert counts.auroc == pytest.approx(metrics.roc_auc_score(labels, scores), abs=1e-12)
    assert counts.average_precision == pytest.approx(metrics.average_precision_score(labels, scores), abs=1e-12)


@given(rows)
def test_the_area_is_the_other_module_s_to_the_bit(case: list[tuple[int, float]]) -> None:
    labels, scores = np.array([label for label, _ in case], dtype=int), [score for _, score in case]
    assert counted(case).auroc == pytest.approx(auroc(labels, scores), abs=0, nan_ok=True)


@given(both, shares)
def test_chosen_thresholds_against_a_search_over_all(case: list[tuple[int, float]], share: float) -> None:
    labels, scores = np.array([label for label, _ in case]), np.array([score for _, score in case])
    counts = counted(case)
    reached = []
    for threshold in [*np.unique(scores), math.inf]:
        called = scores >= threshold
        true, false = int(called[labels == 1].sum()), int(called[labels == 0].sum())
        positives, negatives = int((labels == 1).sum()), int((labels == 0).sum())
        reached.append((true / positives, (negatives - false) / negatives, threshold))
        point = counts.operating_point(threshold)
        assert (point.sensitivity, point.specificity) == reached[-1][:2]
    best = max((one for one in reached if one[1] >= share), key=lambda one: one[:2])
    assert counts.sensitivity_at_specificity(share) == best[0]
    chosen = counts.operating_point(counts.threshold_at_specificity(share))
    assert (chosen.sensitivity, chosen.specificity) == best[:2]
    best = max((one for one in reached if one[0] >= share), key=lambda one: (one[1], one[0]))
    assert counts.specificity_at_sensitivity(share) == best[1]
    chosen = counts.operating_point(counts.threshold_at_sensitivity(share))
    assert (chosen.sensitivity, chosen.specificity) == best[:2]
    assert counts.youden_index == pytest.approx(max(one[0] + one[1] - 1 for one in reached), abs=1e-12)


def test_a_share_that_is_just_reached_counts() -> None:
    # 19 of 20 negatives are below 0.5: a specificity of 0.95, though neither number is exact in binary.
    counts = ScoreCounts.of([0] * 20 + [1], [0.1] * 19 + [0.7, 0.5])
    assert counts.threshold_at_specificity(0.95) == 0.5
    assert counts.sensitivity_at_specificity(0.95) == 1
    assert counts.sensitivity_at_specificity(math.nextafter(0.95, 1)) == 0
    assert counts.threshold_at_specificity(math.nextafter(0.95, 1)) == math.inf


@given(rows, st.lists(st.integers(0, 40), max_size=4), st.integers(0, 100))
def test_shards_in_any_order_give_the_whole_to_the_bit(
    case: list[tuple[int, float]], cuts: list[int], seed: int
) -> None:
    rng = np.random.default_rng(seed)
    shards = np.split(rng.permutation(len(case)), sorted(min(cut, len(case)) for cut in cuts))
    merged = counted([])
    for shard in shards:
        piece = counted([case[one] for one in shard])
        merged = merged + piece if rng.random() < 0.5 else piece + merged
    whole = counted(case)
    assert as_bytes(merged) == as_bytes(whole)
    figures = [(counts.auroc, counts.average_precision, counts.youden_index) for counts in (merged, whole)]
    assert np.array(figures[0]).tobytes() == np.array(figures[1]).tobytes()


@pytest.mark.parametrize("labels", [[], [1, 1], [0, 0]])
def test_one_class_only(labels: list[int]) -> None:
    counts = ScoreCounts.of(labels, [0.5, 0.7][: len(labels)])
    figures = [
        counts.auroc,
        counts.average_precision,
        counts.youden_threshold,
        counts.youden_index,
        counts.threshold_at_specificity(0.9),
        counts.sensitivity_at_specificity(0.9),
        counts.threshold_at_sensitivity(0.9),
        counts.specificity_at_sensitivity(0.9),
    ]
    assert np.isnan(figures).all()
    assert len(counts.roc_points().thresholds) == len(labels) + 1
    assert np.isnan(counts.roc_points().sensitivity).all() == (1 not in labels)
    assert np.isnan(counts.roc_points().false_positive_rate).all() == (0 not in labels)
    assert not np.isnan(counts.precision_recall_points().precision).any()
    assert math.isnan(counts.prevalence) == (not labels)
    assert counts.operating_point(0.6).n == len(labels)


def test_tensors_are_taken() -> None:
    torch = pytest.importorskip("torch")
    assert ScoreCounts.of(torch.tensor([True, False]), torch.tensor([0.9, 0.1])).auroc == 1


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: ScoreCounts.of([0, 1], [0.5]), r"both be \(n,\), got \(2,\) and \(1,\)"),
        (lambda: ScoreCounts.of([[0]], [[0.5]]), r"both be \(n,\)"),
        (lambda: ScoreCounts.of([0, 2], [0.5, 0.1]), r"0 or 1 \(or bool\), got int64 with \[0, 2\]"),
        (lambda: ScoreCounts.of([0.0, 1.0], [0.5, 0.1]), "0 or 1"),
        (lambda: ScoreCounts.of([0, 1], [0.5, math.nan]), "1 of 2 scores are NaN or infinity"),
        (lambda: ScoreCounts.of([0, 1], [math.inf, math.nan]), "2 of 2 scores"),
        (lambda: ScoreCounts.of([0, 1], [0, 1]).threshold_at_specificity(95), r"specificity lies in \[0, 1\], got 95"),
        (lambda: ScoreCounts.of([0, 1], [0, 1]).sensitivity_at_specificity(math.nan), "specificity lies in"),
        (lambda: ScoreCounts.of([0, 1], [0, 1]).threshold_at_sensitivity(-0.1), "sensitivity lies in"),
        (lambda: ScoreCounts.of([0, 1], [0, 1]).specificity_at_sensitivity(1.1), "95 % is 0.95"),
        (lambda: ScoreCounts.of([0, 1], [0, 1]).operating_point(math.nan), "all images have one class"),
    ],
)
def test_refused(call: Callable[[], object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        call()
