"""Held-out opinions: an image's own label, and its unit's, play no part; a pool takes what is worth most."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import scipy.linalg

from snellen.core.errors import InputError
from snellen.metrics.inspection.label_opinions import (
    kernel_opinion,
    neighbour_opinion,
    pooled_opinion,
)

HEADS: list[Callable[..., np.ndarray]] = [kernel_opinion, neighbour_opinion]


def blobs(n: int = 400, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 4, n)
    return rng.normal(0, 1, (n, 8)) + 4 * np.eye(4, 8)[labels], labels


@pytest.mark.parametrize("head", HEADS)
def test_planted_errors_are_contradicted(head: Callable[..., np.ndarray]) -> None:
    features, truth = blobs()
    labels = truth.copy()
    labels[:20] = (truth[:20] + 1) % 4
    probabilities = head(features, labels, classes=4)
    assert probabilities.sum(1) == pytest.approx(np.ones(400))
    assert (probabilities.argmax(1) == truth).mean() > 0.95
    assert (probabilities.argmax(1)[:20] == labels[:20]).mean() < 0.2


@pytest.mark.parametrize("head", HEADS)
def test_an_own_label_decides_only_the_temperature(
    head: Callable[..., np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("snellen.metrics.inspection.label_opinions.PENALTIES", (0.1,))
    features, labels = blobs(100)
    changed = labels.copy()
    changed[7] = (labels[7] + 1) % 4
    first, second = (head(features, one, classes=4)[7] for one in (labels, changed))
    assert first.argsort().tolist() == second.argsort().tolist()


def test_held_out_scores_are_those_of_a_fit_without_the_unit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("snellen.metrics.inspection.label_opinions.PENALTIES", (0.1,))
    scores: list[np.ndarray] = []
    monkeypatch.setattr(
        "snellen.metrics.inspection.label_opinions.tempered_probabilities", lambda values, _: scores.append(values)
    )
    features, labels = blobs(60)
    units = np.r_[np.arange(40), np.repeat([40, 41, 42, 43], 5)]
    kernel_opinion(features, labels, classes=4, units=units)
    directions = features / np.linalg.norm(features, axis=1, keepdims=True)
    distances = 2 - 2 * directions @ directions.T
    # All images are landmarks: the kernel is exact, but for directions of next to no length.
    design = np.c_[scipy.linalg.sqrtm(np.exp(-2 * distances / np.median(distances))).real, np.ones(60)]
    penalty = 0.1 * np.trace(design.T @ design) / 61
    for unit in (3, 41):
        rest = units != unit
        gram = design[rest].T @ design[rest] + penalty * np.eye(61)
        weights = np.linalg.solve(gram, design[rest].T @ np.eye(4)[labels[rest]])
        assert scores[0][~rest] == pytest.approx(design[~rest] @ weights, abs=1e-3)


@pytest.mark.parametrize("head", HEADS)
def test_a_unit_is_held_out_whole(head: Callable[..., np.ndarray]) -> None:
    rng = np.random.default_rng(0)
    # Pure noise with copies: who sees the copy knows the label.
    features, labels = np.repeat(rng.normal(size=(100, 60)), 2, axis=0), np.repeat(rng.integers(0, 2, 100), 2)
    leaked = head(features, labels, classes=2)
    held = head(features, labels, classes=2, units=np.repeat(np.arange(100), 2))
    assert (leaked.argmax(1) == labels).mean() > (held.argmax(1) == labels).mean() + 0.1
    assert (held.argmax(1) == labels).mean() < 0.65


@pytest.mark.parametrize("head", HEADS)
def test_absent_classes_constant_features_and_few_images(head: Callable[..., np.ndarray]) -> None:
    features, labels = blobs(60)
    features[:, 5] = 1.0
    for rows in (slice(60), slice(2)):
        probabilities = head(features[rows], labels[rows], classes=6)
        assert probabilities.shape == (len(labels[rows]), 6)
        assert np.isfinite(probabilities).all()
    assert np.isfinite(head(np.zeros((5, 2)), np.array([0, 1, 1, 0, 1]), classes=2)).all()


def test_more_images_than_voters(monkeypatch: pytest.MonkeyPatch) -> None:
    features, labels = blobs(300)
    every = neighbour_opinion(features, labels, classes=4)
    monkeypatch.setattr("snellen.metrics.inspection.label_opinions.VOTERS", 100)
    some = neighbour_opinion(features, labels, classes=4)
    assert not np.allclose(every, some)
    assert (some.argmax(1) == labels).mean() > 0.95


def test_a_pool_beats_its_parts() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 2000)
    logs = [rng.normal(0, 1, (2000, 3)) + 1.5 * np.eye(3)[labels] for _ in range(2)]
    parts = [np.exp(one) / np.exp(one).sum(1, keepdims=True) for one in (*logs, rng.normal(0, 1, (2000, 3)))]
    pooled, weights = pooled_opinion(parts, labels)
    losses = [-np.log(one[np.arange(2000), labels]).mean() for one in (pooled, *parts)]
    assert losses[0] < min(losses[1:]) - 0.1
    # Normal scores of unit variance: the log odds are 1.5 times them. Pure noise is worth nothing.
    assert weights == pytest.approx([1.5, 1.5, 0.0], abs=0.15)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"features": np.zeros(3)}, r"features \(n, d\)"),
        ({"features": np.full((4, 2), np.nan)}, "must be finite"),
        ({"labels": np.array([0, 1, 2, 3])}, "from 0 to k−1"),
        ({"labels": np.array([0.0, 1.0, 0.0, 1.0])}, "must be integers"),
        ({"units": np.arange(3)}, "a unit for each of 4 images"),
    ],
)
@pytest.mark.parametrize("head", HEADS)
def test_refused(head: Callable[..., np.ndarray], changes: dict[str, np.ndarray], message: str) -> None:
    arguments = {"features": np.zeros((4, 2)), "labels": np.array([0, 1, 0, 1]), **changes}
    with pytest.raises(InputError, match=message):
        head(arguments.pop("features"), arguments.pop("labels"), classes=2, **arguments)


def test_an_empty_pool_is_refused() -> None:
    with pytest.raises(InputError, match="one opinion or more"):
        pooled_opinion([], [0])
    with pytest.raises(InputError, match="1 landmark or more"):
        kernel_opinion(np.zeros((4, 2)), [0, 1, 0, 1], classes=2, landmarks=0)
