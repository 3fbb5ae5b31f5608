"""Calibration and proper scores: by hand, against scikit-learn, merged from shards, in any order."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from snellen.core.errors import InputError
from snellen.metrics.calibration import ProbabilityScores, ReliabilityBins, expected_calibration_error

RNG = np.random.default_rng(0)
CONFIDENCE = RNG.uniform(0, 1, 500)
CORRECT = RNG.uniform(0, 1, 500) < CONFIDENCE**2
PROBABILITIES = RNG.dirichlet([0.5] * 4, 500)
LABELS = RNG.integers(0, 4, 500)


def by_definition(confidence: np.ndarray, correct: np.ndarray, bins: int) -> float:
    """Guo et al. 2017, equation 3, word for word."""
    total = 0.0
    for m in range(1, bins + 1):
        inside = (confidence > (m - 1) / bins) & (confidence <= m / bins) | ((m == 1) & (confidence == 0))
        if inside.any():
            total += inside.sum() / len(confidence) * abs(correct[inside].mean() - confidence[inside].mean())
    return total


@pytest.mark.parametrize("bins", [1, 2, 10, 15, 100])
def test_calibration_error_by_definition(bins: int) -> None:
    expected = by_definition(CONFIDENCE, CORRECT.astype(float), bins)
    assert expected_calibration_error(CONFIDENCE, CORRECT, bins) == pytest.approx(expected, abs=1e-12)


def test_bins_are_closed_on_the_right() -> None:
    for bins in (2, 3, 7, 10, 15):
        edges = [m / bins for m in range(bins + 1)]
        counts = ReliabilityBins.of(edges, [True] * len(edges), bins).count
        assert counts.tolist() == [2, *[1] * (bins - 1)]  # 0 and 1/M share the first
        above = [math.nextafter(edge, 2) for edge in edges[:-1]]
        assert ReliabilityBins.of(above, [True] * bins, bins).count.tolist() == [1] * bins


def test_bins_by_hand() -> None:
    found = ReliabilityBins.of([0.9, 0.8, 0.3], [True, False, True], 2)
    assert found.count.tolist() == [1, 2]
    assert found.confidence.tolist() == pytest.approx([0.3, 0.85])
    assert found.accuracy.tolist() == pytest.approx([1.0, 0.5])
    assert found.ece == pytest.approx((0.7 + 2 * 0.35) / 3)
    empty = ReliabilityBins.of([0.9], [True], 2)
    assert np.isnan(empty.accuracy[0])
    assert np.isnan(empty.confidence[0])


def test_perfect_calibration_is_zero_and_certain_mistakes_are_one() -> None:
    assert expected_calibration_error([1.0] * 5, [True] * 5) == 0
    assert expected_calibration_error([1.0] * 5, [False] * 5) == 1


pieces = st.lists(st.integers(1, 499), max_size=5).map(lambda cuts: np.split(np.arange(500), sorted(set(cuts))))


@settings(deadline=None)
@given(pieces, st.integers(0, 100))
def test_shards_in_any_order_give_the_whole(shards: list[np.ndarray], seed: int) -> None:
    order = np.random.default_rng(seed).permutation(500)
    whole, scores = ReliabilityBins.of(CONFIDENCE, CORRECT), ProbabilityScores.of(PROBABILITIES, LABELS)
    merged, merged_scores = ReliabilityBins.of([], []), ProbabilityScores()
    for shard in shards:
        chosen = order[shard]
        merged = merged + ReliabilityBins.of(CONFIDENCE[chosen], CORRECT[chosen])
        merged_scores = merged_scores + ProbabilityScores.of(PROBABILITIES[chosen], LABELS[chosen])
    assert merged.count.tolist() == whole.count.tolist()
    assert merged.correct_sum.tolist() == whole.correct_sum.tolist()
    assert merged.ece == pytest.approx(whole.ece, abs=1e-12)
    assert merged_scores.n == scores.n
    assert merged_scores.brier == pytest.approx(scores.brier, abs=1e-12)
    assert merged_scores.negative_log_likelihood == pytest.approx(scores.negative_log_likelihood, abs=1e-12)


def test_scores_against_scikit_learn() -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    scores = ProbabilityScores.of(PROBABILITIES, LABELS)
    brier = metrics.brier_score_loss(LABELS, PROBABILITIES, labels=[0, 1, 2, 3], scale_by_half=False)
    assert scores.brier == pytest.approx(brier, abs=1e-12)
    loss = metrics.log_loss(LABELS, PROBABILITIES, labels=[0, 1, 2, 3])
    assert scores.negative_log_likelihood == pytest.approx(loss, abs=1e-12)


def test_calibration_curve_against_scikit_learn() -> None:
    calibration = pytest.importorskip("sklearn.calibration")
    accuracy, confidence = calibration.calibration_curve(CORRECT, CONFIDENCE, n_bins=10)
    found = ReliabilityBins.of(CONFIDENCE, CORRECT, 10)
    assert found.accuracy == pytest.approx(accuracy, abs=1e-12)
    assert found.confidence == pytest.approx(confidence, abs=1e-12)


def test_extremes_of_the_scores() -> None:
    sure = ProbabilityScores.of([[1.0, 0.0], [0.0, 1.0]], [0, 1])
    assert (sure.brier, sure.negative_log_likelihood) == (0, 0)
    wrong = ProbabilityScores.of([[1.0, 0.0]], [1])
    assert (wrong.brier, wrong.negative_log_likelihood) == (2, math.inf)
    even = ProbabilityScores.of(np.full((3, 4), 0.25), [0, 1, 2])
    assert even.brier == pytest.approx(0.75)
    assert even.negative_log_likelihood == pytest.approx(math.log(4))


def test_nothing_counted() -> None:
    assert math.isnan(ReliabilityBins.of([], []).ece)
    assert math.isnan(ProbabilityScores().brier)
    assert math.isnan(ProbabilityScores().negative_log_likelihood)


def test_tensors_are_taken() -> None:
    torch = pytest.importorskip("torch")
    assert ReliabilityBins.of(torch.tensor([0.5]), torch.tensor([True]), 2).count.tolist() == [1, 0]


REFUSED = [
    (lambda: ReliabilityBins.of([0.5], [True], 0), "at least one bin"),
    (lambda: ReliabilityBins.of([0.5, 0.5], [True]), r"must both be \(n,\)"),
    (lambda: ReliabilityBins.of([[0.5]], [[True]]), r"must both be \(n,\)"),
    (lambda: ReliabilityBins.of([1.5], [True]), "pass probabilities"),
    (lambda: ReliabilityBins.of([-0.1], [True]), "pass probabilities"),
    (lambda: ReliabilityBins.of([math.nan], [True]), "pass probabilities"),
    (lambda: ReliabilityBins.of([0.5], [0.5]), "true or false"),
    (lambda: ReliabilityBins.of([], [], 3) + ReliabilityBins.of([], [], 4), "3 and 4 bins cannot be added"),
    (lambda: ProbabilityScores.of([0.5, 0.5], [0]), r"expected probabilities \(n, k\)"),
    (lambda: ProbabilityScores.of([[0.5, 0.5]], [0, 1]), r"labels \(n,\)"),
    (lambda: ProbabilityScores.of([[0.5, 0.6]], [0]), "sum to 1"),
    (lambda: ProbabilityScores.of([[1.5, -0.5]], [0]), "sum to 1"),
    (lambda: ProbabilityScores.of([[math.nan, 1]], [0]), "sum to 1"),
    (lambda: ProbabilityScores.of([[0.5, 0.5]], [2]), "integers from 0 to 1"),
    (lambda: ProbabilityScores.of([[0.5, 0.5]], [-1]), "leave unknown ones out"),
    (lambda: ProbabilityScores.of([[0.5, 0.5]], [0.0]), "integers from 0 to 1"),
]


@pytest.mark.parametrize(("call", "message"), REFUSED)
def test_refused(call: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        call()  # type: ignore[operator]
