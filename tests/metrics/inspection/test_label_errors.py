"""Confident learning: by hand, on planted errors, in any order, and bad input."""

from __future__ import annotations

import math
from typing import get_args

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import snellen
from snellen.core.errors import InputError, UnknownNameError
from snellen.metrics.inspection.confident_joint import ConfidentJoint
from snellen.metrics.inspection.label_errors import Quality, Rule, label_errors, label_quality, multilabel_label_errors

# Thresholds: class 0 (0.9 + 0.7 + 0.2) / 3 = 0.6, class 1 (0.9 + 0.5) / 2 = 0.7.
SURE = np.array([[0.9, 0.1], [0.7, 0.3], [0.2, 0.8], [0.1, 0.9], [0.5, 0.5]])
GIVEN = np.array([0, 0, 0, 1, 1])


@pytest.fixture(scope="module")
def fashion() -> tuple[np.ndarray, np.ndarray]:
    """Probabilities and labels of the bundled images."""
    classifier, images = snellen.load_classifier("bundled:fashion-cnn"), snellen.load_images("bundled:fashion-mnist")
    with torch.no_grad():
        scores = classifier(torch.stack([classifier.prepare(example.image) for example in images]))
    return scores.double().softmax(1).numpy(), images.labels.astype(np.int64)


def swapped(truth: np.ndarray, first: int, second: int, seed: int) -> np.ndarray:
    """A fifth of two classes, each labelled as the other."""
    rng, labels = np.random.default_rng(seed), truth.copy()
    for label, other in ((first, second), (second, first)):
        rows = rng.permutation(np.flatnonzero(truth == label))
        labels[rows[: len(rows) // 5]] = other
    return labels


def random_case(seed: int, n: int = 200, classes: int = 4) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    sure = rng.dirichlet([0.4] * classes, n)
    labels = np.where(rng.random(n) < 0.8, sure.argmax(1), rng.integers(0, classes, n))
    return sure, labels


def test_joint_by_hand() -> None:
    joint = ConfidentJoint.of(SURE, GIVEN)
    assert joint.thresholds.tolist() == pytest.approx([0.6, 0.7])
    assert joint.confident.tolist() == [0, 0, 1, 1, -1]
    assert joint.counts.tolist() == [[2, 1], [0, 1]]
    # Rows scaled to 3 and 2 images.
    assert joint.calibrated.tolist() == [[2, 1], [0, 2]]
    assert joint.joint.tolist() == pytest.approx(np.array([[0.4, 0.2], [0.0, 0.4]]))
    assert joint.prior.tolist() == pytest.approx([0.4, 0.6])
    assert joint.noise.tolist() == pytest.approx(np.array([[1, 1 / 3], [0, 2 / 3]]))


def test_rules_by_hand() -> None:
    for rule in get_args(Rule):
        found = label_errors(SURE, GIVEN, rule=rule)
        assert found.suspects.tolist() == [2], rule
        assert (found.given.tolist(), found.suggested.tolist(), found.scores.tolist()) == ([0], [1], [0.2])
        assert found.errors_by_label.tolist() == [1, 0]
        assert found.pairs == ((0, 1, 1),)
    # Two images labelled 0 look like 1, and the confident joint holds one of them: the rules part.
    sure = np.array([[0.95, 0.05]] * 4 + [[0.3, 0.7], [0.05, 0.95]] + [[0.1, 0.9]] * 4)
    labels = np.array([0] * 6 + [1] * 4)
    joint = ConfidentJoint.of(sure, labels)
    assert joint.counts.tolist() == [[4, 1], [0, 4]]
    assert joint.estimated_counts.tolist() == [[5, 1], [0, 4]]  # of 4.8 and 1.2
    assert label_errors(sure, labels, rule="confusion").suspects.tolist() == [5, 4]
    for rule in ("confident_joint", "prune_by_class", "prune_by_noise_rate", "both"):
        assert label_errors(sure, labels, rule=rule).suspects.tolist() == [5]


def test_qualities_by_hand() -> None:
    sure, labels = np.array([[0.5, 0.3, 0.2], [0.5, 0.3, 0.2]]), np.array([0, 2])
    assert label_quality(sure, labels, by="self_confidence").tolist() == [0.5, 0.2]
    assert label_quality(sure, labels, by="normalized_margin").tolist() == pytest.approx([0.6, 0.35])
    entropy = -sum(p * math.log(p) for p in (0.5, 0.3, 0.2)) / math.log(3)
    expected = [1 / (1 + entropy / own) for own in (0.5, 0.2)]
    assert label_quality(sure, labels, by="confidence_weighted_entropy").tolist() == pytest.approx(expected)
    # Thresholds 0.5 and 0.2, none for class 1: the highest is added, each its own taken off, and the sum made 1.
    adjusted = label_quality(sure, labels, by="self_confidence", adjusted=True)
    assert adjusted.tolist() == pytest.approx([0.5 / 1.3, 0.5 / 1.3])
    certain = label_quality([[1.0, 0.0], [1.0, 0.0]], [0, 1], by="confidence_weighted_entropy")
    assert certain.tolist() == pytest.approx([1, 0])


@pytest.mark.parametrize(("first", "second", "precision", "recall"), [(1, 8, 0.65, 0.95), (0, 6, 0.5, 0.8)])
def test_planted_swaps_are_found(fashion, first: int, second: int, precision: float, recall: float) -> None:
    sure, truth = fashion
    for seed in range(3):
        labels = swapped(truth, first, second, seed)
        wrong = labels != truth
        found = label_errors(sure, labels)
        assert wrong[found.suspects].mean() >= precision
        assert wrong[found.suspects].sum() >= recall * wrong.sum()
        hits = found.suspects[wrong[found.suspects]]
        assert (found.suggested[wrong[found.suspects]] == truth[hits]).mean() > 0.9
        assert {(pair.given, pair.suggested) for pair in found.pairs[:2]} == {(first, second), (second, first)}
        # The worst come first.
        assert wrong[found.suspects[:20]].mean() >= 0.7


def test_rules_are_nested_and_scores_sorted(fashion) -> None:
    sure, truth = fashion
    labels = swapped(truth, 0, 6, 0)
    found = {rule: label_errors(sure, labels, rule=rule) for rule in get_args(Rule)}
    sets = {rule: set(result.suspects.tolist()) for rule, result in found.items()}
    assert sets["both"] == sets["prune_by_class"] & sets["prune_by_noise_rate"]
    assert all(chosen <= sets["confusion"] for chosen in sets.values())
    assert sets["confusion"] == set(np.flatnonzero(sure.argmax(1) != labels).tolist())
    for result in found.values():
        assert (np.diff(result.scores) >= 0).all()
        assert (result.suggested != result.given).all()


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 10_000), st.sampled_from(get_args(Rule)), st.booleans())
def test_order_plays_no_part(seed: int, rule: Rule, ties: bool) -> None:
    sure, labels = random_case(seed)
    if ties:
        sure = sure.round(1) + 1e-3
        sure /= sure.sum(1, keepdims=True)
    order = np.random.default_rng(seed).permutation(len(labels))
    first, second = label_errors(sure, labels, rule=rule), label_errors(sure[order], labels[order], rule=rule)
    assert set(order[second.suspects].tolist()) == set(first.suspects.tolist())
    assert second.errors_by_label.tolist() == first.errors_by_label.tolist()
    assert second.pairs == first.pairs
    assert second.scores.tolist() == first.scores.tolist()


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 10_000), st.integers(2, 6))
def test_names_of_classes_play_no_part(seed: int, classes: int) -> None:
    sure, labels = random_case(seed, classes=classes)
    renamed = np.random.default_rng(seed).permutation(classes)
    joint = ConfidentJoint.of(sure, labels)
    other = ConfidentJoint.of(sure[:, np.argsort(renamed)], renamed[labels])
    assert (other.counts[np.ix_(renamed, renamed)] == joint.counts).all()
    assert joint.estimated_counts.sum(1).tolist() == np.bincount(labels, minlength=classes).tolist()
    assert joint.joint.sum() == pytest.approx(1)


def test_right_labels_of_a_sure_model_are_not_suspected() -> None:
    for rule in get_args(Rule):
        found = label_errors(np.eye(3)[[0, 1, 2, 1]], [0, 1, 2, 1], rule=rule)
        assert (len(found.suspects), found.pairs, found.errors_by_label.tolist()) == (0, (), [0, 0, 0])
        # A model that tells nothing accuses nobody.
        assert not len(label_errors(np.full((6, 3), 1 / 3), [0, 1, 2, 0, 1, 2], rule=rule).suspects)


def test_classes_without_images() -> None:
    joint = ConfidentJoint.of([[0.2, 0.1, 0.7], [0.3, 0.6, 0.1]], [0, 1])
    assert joint.thresholds.tolist() == pytest.approx([0.2, 0.6, math.inf])
    assert joint.confident.tolist() == [0, 1]
    assert np.isnan(joint.noise[:, 2]).all()
    assert joint.estimated_counts.tolist() == [[1, 0, 0], [0, 1, 0], [0, 0, 0]]


def test_several_labels_are_judged_one_by_one() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, (300, 2))
    sure = np.where(labels == 1, 0.9, 0.1) + rng.uniform(-0.05, 0.05, labels.shape)
    labels[:10, 1] = 1 - labels[:10, 1]
    clean, noisy = multilabel_label_errors(sure, labels.astype(bool))
    assert len(clean.suspects) == 0
    assert len(noisy.suspects) >= 7
    assert noisy.suspects.max() < 10


HALVES = [[0.5, 0.5], [0.5, 0.5]]


@pytest.mark.parametrize(
    ("sure", "labels", "message"),
    [
        (HALVES, [0], r"got \(2, 2\) and \(1,\)"),
        ([0.5, 0.5], [0, 1], r"probabilities \(n, k\), k ≥ 2"),
        ([[1.0], [1.0]], [0, 0], r"k ≥ 2"),
        (np.zeros((0, 2)), [], "at least one image"),
        ([[2.0, -1.0], [0.5, 0.5]], [0, 1], "pass a softmax"),
        ([[math.nan, 0.5], [0.5, 0.5]], [0, 1], "pass a softmax"),
        ([[0.5, 0.6], [0.5, 0.5]], [0, 1], "sum to 1"),
        (HALVES, [0, 2], "integers from 0 to 1, got int64 from 0 to 2"),
        (HALVES, [-1, 1], "leave images with unknown labels out"),
        (HALVES, [0.0, 1.0], "integers from 0 to 1, got float64"),
    ],
)
def test_refused(sure, labels, message: str) -> None:
    for call in (label_errors, label_quality):
        with pytest.raises(InputError, match=message):
            call(sure, labels)


def test_unknown_choices() -> None:
    with pytest.raises(UnknownNameError, match=r"unknown rule 'prune_by_clas'; did you mean 'prune_by_class'"):
        label_errors(SURE, GIVEN, rule="prune_by_clas")  # type: ignore[arg-type]
    with pytest.raises(UnknownNameError, match="unknown label quality 'margin'"):
        label_quality(SURE, GIVEN, by="margin")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="labels 0 or 1"):
        multilabel_label_errors([[3.0]], [[1]])
    with pytest.raises(InputError, match=r"\(n, l\), got \(1, 2\) and \(1,\)"):
        multilabel_label_errors([[0.5, 0.5]], [1])
    assert set(get_args(Quality)) == {"self_confidence", "normalized_margin", "confidence_weighted_entropy"}
