"""Hidden subgroups: a planted one comes first, healthy models have none, real images, exact tests, bad input."""

from __future__ import annotations

import math
from itertools import combinations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from snellen.core.errors import InputError
from snellen.data.files.bundled import load_bundled
from snellen.metrics.inspection.clustering import k_means, principal_axes
from snellen.metrics.inspection.excess_loss import excess_loss
from snellen.metrics.inspection.slices import find_slices, property_contrasts
from snellen.metrics.multiplicity import benjamini_hochberg
from snellen.models.classifiers.references import load_classifier


def simulated(
    seed: int, *, n: int = 2000, separation: float, dimensions: int = 20
) -> tuple[NDArray[np.float64], NDArray[np.bool_], NDArray[np.int64], NDArray[np.bool_]]:
    """Ten class clusters, and 5 % of the images pulled to one side with 45 % errors in place of 5 %."""
    rng = np.random.default_rng([7, seed])
    labels, hidden = rng.integers(0, 10, n), rng.random(n) < 0.05
    features = 2 * rng.normal(size=(10, dimensions))[labels] + rng.normal(size=(n, dimensions))
    direction = rng.normal(size=dimensions)
    features[hidden] += separation * direction / np.linalg.norm(direction)
    wrong = rng.random(n) < np.where(hidden, 0.45, 0.05)
    return features, wrong, labels, hidden


@pytest.mark.parametrize("seed", range(3))
def test_a_planted_slice_comes_first(seed: int) -> None:
    features, wrong, labels, hidden = simulated(seed, separation=6)
    brightness = np.where(hidden, -1.3, 0) + np.random.default_rng([1, seed]).normal(size=len(labels))
    noise = np.random.default_rng([2, seed]).normal(size=len(labels))
    search = find_slices(
        features, wrong, labels=labels, predictions=labels, properties={"noise": noise, "brightness": brightness}
    )
    first = search.slices[0]
    assert benjamini_hochberg(search.p_values)[0]
    assert hidden[first.members].mean() > 0.7
    assert hidden[first.members].sum() > 0.5 * hidden.sum()
    assert hidden[first.prototypes].all()
    assert first.lower() > 0.1
    assert first.contrasts[0].name == "brightness"
    assert first.contrasts[0].difference < -0.8
    # It goes through all classes, so that no class explains it.
    assert first.label_share < 0.3
    assert first.excess.p_within_classes < 1e-6
    assert first.excess.gap_within_classes == pytest.approx(first.excess.gap, abs=0.1)
    assert list(search.p_values) == sorted(search.p_values)


def test_healthy_models_have_no_slices() -> None:
    accused, runs = 0, 30
    for seed in range(runs):
        rng = np.random.default_rng([3, seed])
        labels = rng.integers(0, 5, 600)
        features = 2 * rng.normal(size=(5, 12))[labels] + rng.normal(size=(600, 12))
        search = find_slices(features, rng.random(600) < 0.1, labels=labels, predictions=labels, seed=seed)
        accused += bool(benjamini_hochberg(search.p_values).any()) if search.slices else 0
    assert accused <= 4  # 5 % of 30 are 1.5; more than 4 has probability 0.016


def test_healthy_models_with_dependent_images_have_no_slices() -> None:
    small = tested = 0
    for seed in range(20):
        rng = np.random.default_rng([4, seed])
        units = np.repeat(np.arange(100), 8)
        features = rng.normal(size=(100, 10))[units] + 0.5 * rng.normal(size=(800, 10))
        wrong = rng.random(800) < rng.beta(0.4, 3.6, 100)[units]
        blank = np.zeros(800, dtype=int)
        found = find_slices(features, wrong, labels=blank, predictions=blank, units=units, seed=seed).p_values
        small, tested = small + int((np.array(found) < 0.05).sum()), tested + len(found)
    assert tested > 50
    assert small <= 0.1 * tested


def test_classes_of_unequal_difficulty_are_no_slices_beyond_the_class() -> None:
    accused = 0
    for seed in range(20):
        rng = np.random.default_rng([6, seed])
        labels = rng.integers(0, 5, 800)
        features = 2 * rng.normal(size=(5, 12))[labels] + rng.normal(size=(800, 12))
        wrong = rng.random(800) < np.linspace(0.02, 0.3, 5)[labels]
        found = find_slices(features, wrong, labels=labels, predictions=labels, seed=seed).slices
        accused += bool(benjamini_hochberg([one.excess.p_within_classes for one in found]).any())
    assert accused <= 3


def test_a_bad_class_is_reported_as_a_class() -> None:
    rng = np.random.default_rng(5)
    labels = rng.integers(0, 4, 2000)
    features = 8 * np.eye(4)[labels] + rng.normal(size=(2000, 4))
    wrong = rng.random(2000) < np.where(labels == 2, 0.4, 0.05)
    first = find_slices(features, wrong, labels=labels, predictions=np.where(wrong, 3, labels)).slices[0]
    assert (first.label, first.p_value < 1e-6) == (2, True)
    assert first.label_share > 0.95
    assert first.excess.p_within_classes > 0.01
    assert abs(first.excess.gap_within_classes) < first.excess.gap


@pytest.fixture(scope="module")
def fashion() -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    images = load_bundled("fashion-mnist")
    pixels = np.stack([np.asarray(images.source.read(row).convert("L")) for row in range(len(images))]) / 255
    return pixels.astype(np.float32), np.asarray(images.labels)


@pytest.mark.parametrize("change", ["inverted", "turned"])
def test_a_visual_subgroup_of_real_images_comes_first(
    fashion: tuple[NDArray[np.float32], NDArray[np.int64]], change: str
) -> None:
    pixels, labels = fashion
    hidden = np.random.default_rng(0).random(len(pixels)) < 0.05
    changed = pixels.copy()
    changed[hidden] = 1 - pixels[hidden] if change == "inverted" else np.rot90(pixels[hidden], 1, (1, 2))
    classifier = load_classifier("bundled:fashion-cnn")
    with torch.inference_mode():
        images = torch.from_numpy(changed)[:, None].expand(-1, 3, -1, -1).contiguous()
        features = classifier.features(images, "pool")
        scores = classifier.module.head(features)
    predictions = classifier.predict(scores).numpy()
    confidence = classifier.probabilities(scores).amax(1).numpy()
    properties = {"brightness": changed.mean((1, 2)), "contrast": changed.std((1, 2))}
    wrong = predictions != labels
    first = find_slices(
        features.numpy(), wrong, labels=labels, predictions=predictions, confidence=confidence, properties=properties
    ).slices[0]
    assert first.p_value < 1e-8
    assert first.lower() > 0.15
    # The group is not known to the search: a twentieth of all images.
    assert hidden[first.members].mean() > (0.8 if change == "inverted" else 0.2)
    assert hidden[first.members].sum() > 0.5 * hidden.sum()
    assert first.confidence < first.rest_confidence
    if change == "inverted":
        assert (first.contrasts[0].name, first.contrasts[0].difference > 1) == ("brightness", True)


def test_order_of_the_images_does_not_matter() -> None:
    features, wrong, labels, _ = simulated(0, n=600, separation=6)
    order = np.random.default_rng(0).permutation(600)
    for units in (None, np.arange(600) // 2):
        there = find_slices(features, wrong, labels=labels, predictions=labels, units=units)
        shuffled = None if units is None else units[order]
        back = find_slices(
            features[order], wrong[order], labels=labels[order], predictions=labels[order], units=shuffled
        )
        assert back.p_values == pytest.approx(there.p_values, rel=1e-9)
        assert np.array_equal(back.held_out, there.held_out[order])
        for one, other in zip(there.slices, back.slices, strict=True):
            assert set(order[other.members].tolist()) == set(one.members.tolist())


def test_the_two_parts_share_no_unit() -> None:
    features, wrong, labels, _ = simulated(1, n=400, separation=6)
    units = np.arange(400) % 50
    held_out = find_slices(features, wrong, labels=labels, predictions=labels, units=units).held_out
    assert not set(units[held_out]) & set(units[~held_out])


def test_labels_of_held_out_images_do_not_move_the_slices() -> None:
    features, wrong, labels, _ = simulated(2, n=600, separation=6)
    first = find_slices(features, wrong, labels=labels, predictions=labels, units=np.arange(600))
    other = np.where(first.held_out, 9 - labels, labels)
    changed = wrong ^ first.held_out
    again = find_slices(features, changed, labels=other, predictions=other, units=np.arange(600))
    assert {tuple(one.members) for one in again.slices} == {tuple(one.members) for one in first.slices}


def test_nothing_to_find() -> None:
    features, _, labels, _ = simulated(0, n=200, separation=0)
    for losses in (np.zeros(200), np.ones(200)):
        assert not find_slices(features, losses, labels=labels, predictions=labels).slices
    assert not find_slices(np.ones((200, 3)), np.arange(200) % 2, labels=labels, predictions=labels).slices
    wide = np.random.default_rng(0).normal(size=(200, 700))
    find_slices(wide, np.arange(200) % 2, labels=labels, predictions=labels)


def test_exact_test_within_classes_by_enumeration() -> None:
    losses = np.array([1, 1, 0, 0, 1, 0, 0, 0.0])
    inside = np.array([1, 1, 0, 0, 1, 1, 0, 0], dtype=bool)
    classes = np.array([0, 0, 0, 0, 1, 1, 1, 1])
    lost = [losses[:4][list(some)].sum() for some in combinations(range(4), 2)]
    others = [losses[4:][list(some)].sum() for some in combinations(range(4), 2)]
    expected = np.mean([a + b >= losses[inside].sum() for a in lost for b in others])
    found = excess_loss(losses, inside, units=np.arange(8), classes=classes)
    assert found.p_within_classes == pytest.approx(expected)
    assert found.gap_within_classes == pytest.approx(0.75)
    # Mantel and Haenszel's weights are 1 and 1; gaps are 1 and 0.5.
    assert (found.inside, found.outside, found.gap) == (0.75, 0, 0.75)


def test_exact_test_equals_fisher() -> None:
    stats = pytest.importorskip("scipy.stats")
    rng = np.random.default_rng(0)
    for n in (20, 300):
        losses, inside = (rng.random(n) < 0.3).astype(float), rng.random(n) < 0.2
        found = excess_loss(losses, inside, units=np.arange(n), classes=np.zeros(n, dtype=int))
        a, b, c, d = (losses[inside].sum(), inside.sum(), losses[~inside].sum(), (~inside).sum())
        expected = stats.fisher_exact([[a, b - a], [c, d - c]], alternative="greater").pvalue
        assert found.p_value == pytest.approx(expected, rel=1e-9)
        assert found.p_within_classes == found.p_value


def test_dependent_images_count_less() -> None:
    losses, inside = np.repeat([1.0, 1, 0, 0, 0, 0, 1, 0, 0, 0], 8), np.repeat(np.arange(10) < 4, 8)
    blank = np.zeros(80, dtype=int)
    alone = excess_loss(losses, inside, units=np.arange(80), classes=blank)
    together = excess_loss(losses, inside, units=np.repeat(np.arange(10), 8), classes=blank)
    assert alone.p_value < 0.005
    assert together.p_value > 0.1
    assert together.lower() < 0 < alone.lower()
    halves = excess_loss(losses / 2, inside, units=np.arange(80), classes=blank)
    assert (halves.gap, halves.by_unit is None) == (alone.gap / 2, False)


def test_empty_sides() -> None:
    losses, blank = np.array([0.0, 1, 0.5]), np.zeros(3, dtype=int)
    for inside in (np.zeros(3, dtype=bool), np.ones(3, dtype=bool)):
        found = excess_loss(losses, inside, units=np.arange(3), classes=blank)
        assert (found.p_value, found.p_within_classes, found.lower()) == (1, 1, -1)
        assert math.isnan(found.gap)
        assert math.isnan(found.gap_within_classes)
    with pytest.raises(InputError, match=r"between 0\.5 and 1, got 0\.3"):
        found.lower(0.3)


def test_randomised_axes_are_those_of_the_covariance() -> None:
    rng = np.random.default_rng(0)
    points = rng.normal(size=(900, 6)) * [9, 7, 5, 4, 3, 2] @ rng.normal(size=(6, 600)) + 0.01 * rng.normal(
        size=(900, 600)
    )
    points -= points.mean(0)
    axes, variances = principal_axes(points, most=6, rng=rng)
    exact = np.linalg.svd(points, compute_uv=False)[:6] ** 2 / 900
    assert variances == pytest.approx(exact, rel=1e-6)
    assert axes.T @ axes == pytest.approx(np.eye(6), abs=1e-9)


def test_k_means_of_equal_points() -> None:
    assert k_means(np.ones((5, 2)), 3, rng=np.random.default_rng(0)).tolist() == [[1, 1]]


def test_contrasts_without_spread() -> None:
    found = property_contrasts({"flat": np.ones(4)}, np.array([True, False, False, False]))
    assert found[0].difference == 0


GOOD = {"labels": np.zeros(120, dtype=int), "predictions": np.zeros(120, dtype=int)}


@pytest.mark.parametrize(
    ("features", "losses", "change", "message"),
    [
        (np.zeros((120, 2)), np.zeros(119), {}, r"features \(n, d\).*got \(120, 2\), \(119,\)"),
        (np.zeros(120), np.zeros(120), {}, r"features \(n, d\)"),
        (np.zeros((99, 2)), np.zeros(99), {"labels": np.zeros(99, int), "predictions": np.zeros(99, int)}, "got 99"),
        (np.full((120, 2), np.nan), np.zeros(120), {}, "features must be finite"),
        (np.zeros((120, 2)), np.full(120, 2.0), {}, r"losses must lie in \[0, 1\], got 2"),
        (np.zeros((120, 2)), np.full(120, np.nan), {}, r"losses must lie in \[0, 1\]"),
        (np.zeros((120, 2)), np.zeros(120), {"labels": np.zeros(120)}, "labels must be integers, got float64"),
        (np.zeros((120, 2)), np.zeros(120), {"units": np.zeros(5, int)}, r"each of the 120 images, got \(5,\)"),
        (np.zeros((120, 2)), np.zeros(120), {"units": np.arange(120) % 9}, "at least 10 units.*got 9"),
        (np.zeros((120, 2)), np.zeros(120), {"confidence": np.zeros(3)}, "confidence must hold one finite number"),
        (np.zeros((120, 2)), np.zeros(120), {"properties": {"glow": np.full(120, np.inf)}}, "property 'glow'"),
    ],
)
def test_refused(features, losses, change, message: str) -> None:
    with pytest.raises(InputError, match=message):
        find_slices(features, losses, **(GOOD | change))
