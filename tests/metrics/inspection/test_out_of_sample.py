"""Held-out probabilities: an image's own label, and its unit's, play no part; classes weigh the same."""

from __future__ import annotations

import math

import numpy as np
import pytest

from snellen.core.errors import InputError
from snellen.metrics.inspection.label_errors import label_errors, out_of_sample_probabilities


def blobs(n: int = 400, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 4, n)
    return rng.normal(0, 1, (n, 8)) + 4 * np.eye(4, 8)[labels], labels


def test_planted_errors_are_found() -> None:
    features, truth = blobs()
    labels = truth.copy()
    labels[:20] = (truth[:20] + 1) % 4
    probabilities = out_of_sample_probabilities(features, labels)
    assert probabilities.sum(1) == pytest.approx(np.ones(400))
    assert (probabilities.argmax(1) == truth).mean() > 0.95
    suspects = label_errors(probabilities, labels).suspects
    assert (suspects < 20).mean() > 0.7
    assert (suspects < 20).sum() >= 15


def test_a_label_does_not_decide_its_own_ranking() -> None:
    features, labels = blobs(100)
    changed = labels.copy()
    changed[7] = (labels[7] + 1) % 4
    units = np.arange(100)
    first, second = (out_of_sample_probabilities(features, one, units=units)[7] for one in (labels, changed))
    assert first.argmax() == second.argmax() == labels[7]


def test_a_unit_is_held_out_whole() -> None:
    rng = np.random.default_rng(0)
    # Pure noise with copies: who sees the copy knows the label.
    features, labels = np.repeat(rng.normal(size=(100, 60)), 2, axis=0), np.repeat(rng.integers(0, 2, 100), 2)
    units = np.repeat(np.arange(100), 2)
    leaked = out_of_sample_probabilities(features, labels, penalty=0.01)
    held = out_of_sample_probabilities(features, labels, units=units, penalty=0.01)
    assert (leaked.argmax(1) == labels).mean() > (held.argmax(1) == labels).mean() + 0.1
    assert (held.argmax(1) == labels).mean() < 0.65


def test_order_plays_no_part_where_units_are_named() -> None:
    features, labels = blobs(120)
    units = np.array([f"unit-{one // 2:03d}" for one in range(120)])
    order = np.random.default_rng(1).permutation(120)
    first = out_of_sample_probabilities(features, labels, units=units)
    second = out_of_sample_probabilities(features[order], labels[order], units=units[order])
    assert second == pytest.approx(first[order], abs=1e-9)


def test_rare_classes_weigh_as_much() -> None:
    rng = np.random.default_rng(0)
    labels = (np.arange(1000) < 50).astype(int)
    features = rng.normal(0, 1, (1000, 3)) + 1.5 * labels[:, None]
    recall = (out_of_sample_probabilities(features, labels).argmax(1)[:50] == 1).mean()
    assert recall > 0.8


def test_absent_classes_and_constant_features() -> None:
    features, labels = blobs(60)
    features[:, 5] = 1.0
    probabilities = out_of_sample_probabilities(features, labels, classes=6)
    assert probabilities.shape == (60, 6)
    assert np.isfinite(probabilities).all()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"features": np.zeros(3)}, r"features \(n, d\)"),
        ({"features": np.full((4, 2), math.nan)}, "finite"),
        ({"labels": [0, 1, 0]}, r"got \(4, 2\) and \(3,\)"),
        ({"labels": [0.0, 1.0, 0.0, 1.0]}, "integers"),
        ({"labels": [0, 0, 0, 0]}, "k ≥ 2"),
        ({"classes": 1}, "k 1"),
        ({"labels": [-1, 0, 1, 0]}, "integers from 0"),
        ({"folds": 1}, "1 folds"),
        ({"folds": 5}, "there are 4 units"),
        ({"units": ["a", "a", "b"]}, "a unit for each of 4"),
        ({"penalty": 0.0}, "above 0"),
    ],
)
def test_refused(changes, message: str) -> None:
    arguments = {"features": np.eye(4)[:, :2], "labels": [0, 1, 0, 1], "folds": 2, **changes}
    with pytest.raises(InputError, match=message):
        out_of_sample_probabilities(arguments.pop("features"), arguments.pop("labels"), **arguments)
