"""Share of wrong labels: healthy labels are spared whatever the calibration, planted errors are found."""

from __future__ import annotations

import math

import numpy as np
import pytest

from snellen.core.errors import InputError
from snellen.metrics.inspection.error_share import TOLERATED, estimated_error_share


def softmax(scores: np.ndarray) -> np.ndarray:
    raised = np.exp(scores - scores.max(1, keepdims=True))
    return raised / raised.sum(1, keepdims=True)


def healthy(seed: int, n: int = 2000, classes: int = 10) -> tuple[np.ndarray, np.ndarray]:
    """Scores of a calibrated model of about 92 % accuracy, and labels drawn from its own probabilities."""
    rng = np.random.default_rng(seed)
    scores = rng.normal(0, 1.5, (n, classes))
    scores[np.arange(n), rng.integers(0, classes, n)] += np.exp(rng.normal(math.log(9), 0.6, n))
    chances = softmax(scores).cumsum(1)
    return scores, (chances < rng.random((n, 1))).sum(1).clip(max=classes - 1)


def spoilt(labels: np.ndarray, share: float, seed: int, classes: int = 10) -> np.ndarray:
    rng, given = np.random.default_rng(seed), labels.copy()
    rows = rng.permutation(len(labels))[: round(share * len(labels))]
    given[rows] = (labels[rows] + rng.integers(1, classes, len(rows))) % classes
    return given


@pytest.mark.parametrize("temperature", [0.33, 1.0, 2.0], ids=["overconfident", "calibrated", "underconfident"])
def test_healthy_labels_are_spared_and_errors_found(temperature: float) -> None:
    accused = 0
    for seed in range(2):
        scores, labels = healthy(seed)
        probabilities = softmax(scores / temperature)
        accused += estimated_error_share(probabilities, labels).p_value < 0.05
        found = estimated_error_share(probabilities, spoilt(labels, 0.05, seed))
        assert found.p_value < 0.01
        assert found.share == pytest.approx(0.05, abs=0.025)
        assert 0.01 < found.lower() < min(0.07, found.share)
    assert accused == 0


@pytest.mark.parametrize("power", [0.5, 1.5, 3.0])
def test_mistakes_that_fall_at_any_speed_are_no_wrong_labels(power: float) -> None:
    for seed in range(2):
        rng = np.random.default_rng(seed)
        odds = rng.uniform(0, 12, 3000)
        wrong = rng.random(3000) < 1 / (1 + np.exp(12 * (odds / 12) ** power))
        sure = 1 / (1 + np.exp(-odds))
        found = estimated_error_share(np.stack([sure, 1 - sure], 1), wrong.astype(int))
        assert found.lower() < TOLERATED
        assert found.share < 0.02


def test_an_improbable_label_is_more_evidence_than_the_second_most_probable() -> None:
    scores, labels = healthy(0)
    probabilities = softmax(scores)
    order = probabilities.argsort(1)
    rows = np.random.default_rng(0).permutation(2000)[:60]
    found = {}
    for name, rank in (("second", -2), ("last", 0)):
        given = labels.copy()
        given[rows] = order[rows, rank]
        found[name] = estimated_error_share(probabilities, given)
    assert found["last"].p_value < 1e-3 * found["second"].p_value
    assert found["last"].wrong[rows].mean() > found["second"].wrong[rows].mean()
    rest = np.setdiff1d(np.arange(2000), rows)
    assert found["last"].wrong[rest].mean() < 0.02
    agreeing = labels == probabilities.argmax(1)
    agreeing[rows] = False
    assert not found["last"].wrong[agreeing].any()


def test_two_classes_leave_the_floor_alone() -> None:
    rng = np.random.default_rng(0)
    sure = 1 / (1 + np.exp(-rng.uniform(0, 12, 2000)))
    labels = (rng.random(2000) > sure).astype(int)
    probabilities = np.stack([sure, 1 - sure], 1)
    clean = estimated_error_share(probabilities, labels)
    assert (len(clean.likelihoods), clean.lower()) == (1, 0)
    labels[:100] = 1 - labels[:100]
    found = estimated_error_share(probabilities, labels)
    assert found.lower(0.975) < 0.05 < found.upper(0.975)
    assert found.lower(0.975) > 0.02


def test_the_bound_and_the_test_agree() -> None:
    for seed, share in ((0, 0.0), (1, 0.01), (2, 0.1)):
        scores, labels = healthy(seed)
        for tolerated in (0.0, TOLERATED):
            found = estimated_error_share(softmax(scores), spoilt(labels, share, seed), tolerated=tolerated)
            assert (found.lower() > tolerated) == (found.p_value < 0.05), (share, tolerated)


def test_order_plays_no_part() -> None:
    scores, labels = healthy(0, 500)
    labels = spoilt(labels, 0.1, 0)
    order = np.random.default_rng(0).permutation(500)
    first = estimated_error_share(softmax(scores), labels)
    second = estimated_error_share(softmax(scores)[order], labels[order])
    assert (first.n, first.disagreements) == (second.n, second.disagreements)
    assert second.share == pytest.approx(first.share, rel=1e-6)
    assert second.lower() == pytest.approx(first.lower(), rel=1e-4)


def test_a_model_that_is_never_surer_tells_nothing() -> None:
    labels = np.random.default_rng(0).integers(0, 3, 600)
    for probabilities in (np.full((600, 3), 1 / 3), np.tile([0.5, 0.3, 0.2], (600, 1)), np.eye(3)[labels * 0]):
        found = estimated_error_share(probabilities, labels)
        assert found.lower() == 0
        assert found.p_value > 0.4
    # Nor does one that errs the more the surer it is.
    sure = np.linspace(0.55, 0.999, 600)
    wrong = np.random.default_rng(0).random(600) < np.linspace(0.05, 0.6, 600)
    found = estimated_error_share(np.stack([sure, 1 - sure], 1), wrong.astype(int))
    assert found.lower() == 0
    right = estimated_error_share(np.eye(3)[labels], labels)
    assert (right.disagreements, right.share, right.lower(), right.p_value) == (0, 0, 0, 1)
    one = estimated_error_share([[0.9, 0.1]], [1])
    assert (one.n, one.disagreements, one.lower()) == (1, 1, 0)


def test_refused() -> None:
    for confidence in (0.5, 1.0, math.nan):
        with pytest.raises(InputError, match=r"between 0.5 and 1 \(0.95, say\)"):
            estimated_error_share([[0.5, 0.5]], [0]).lower(confidence)
    for tolerated in (-0.1, 0.5, math.nan):
        with pytest.raises(InputError, match=r"tolerated share lies in \[0, 0.5\)"):
            estimated_error_share([[0.5, 0.5]], [0], tolerated=tolerated)
    with pytest.raises(InputError, match="pass a softmax"):
        estimated_error_share([[3.0, 1.0]], [0])
