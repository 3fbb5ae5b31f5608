"""Outliers: distances against scikit-learn, clean sets keep to the share, planted ones are found."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from snellen.core.errors import InputError
from snellen.metrics.inspection import outliers
from snellen.metrics.inspection.outliers import (
    feature_outliers,
    neighbour_distances,
    robust_z,
    tail_probabilities,
    value_outliers,
)

RNG = np.random.default_rng(0)
FEATURES = RNG.normal(size=(1200, 24)) * RNG.uniform(0.1, 10, 24) + RNG.normal(size=24)


def test_distances_against_scikit_learn(monkeypatch: pytest.MonkeyPatch) -> None:
    neighbours = pytest.importorskip("sklearn.neighbors")
    monkeypatch.setattr(outliers, "ROWS_AT_ONCE", 77)
    scaled = (FEATURES - FEATURES.mean(0)) / FEATURES.std(0) / math.sqrt(48)
    found, _ = neighbours.NearestNeighbors(n_neighbors=8).fit(scaled).kneighbors(scaled)
    assert neighbour_distances(FEATURES, neighbours=7) == pytest.approx(found[:, 1:].mean(1), abs=1e-5)


def test_random_pairs_are_about_one_apart() -> None:
    everyone = neighbour_distances(FEATURES[:300], neighbours=299)
    assert everyone.mean() == pytest.approx(1, abs=0.03)


def test_units_and_order_of_the_images_do_not_matter() -> None:
    order = np.random.default_rng(1).permutation(1200)
    expected = neighbour_distances(FEATURES)
    assert neighbour_distances(FEATURES[order]) == pytest.approx(expected[order], abs=1e-5)
    assert neighbour_distances(1000 * FEATURES + 5) == pytest.approx(expected, abs=1e-5)
    constant = np.concatenate([FEATURES, np.full((1200, 24), 0.1)], 1)
    assert neighbour_distances(constant) * math.sqrt(2) == pytest.approx(expected, abs=1e-5)


def test_a_sample_stands_for_a_large_set(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = neighbour_distances(FEATURES)
    monkeypatch.setattr(outliers, "REFERENCES", 600)
    found = neighbour_distances(FEATURES, seed=3)
    assert found.tolist() == neighbour_distances(FEATURES, seed=3).tolist()
    assert found.tolist() != neighbour_distances(FEATURES, seed=4).tolist()
    assert (found > 0).all()  # no image is its own neighbour
    assert np.corrcoef(found, expected)[0, 1] > 0.95


CLEAN = {
    "normal": lambda rng: rng.normal(size=(600, 16)),
    "ten classes": lambda rng: rng.normal(size=(600, 32)) + 6 * np.eye(10, 32)[rng.integers(0, 10, 600)],
    "rectified": lambda rng: np.abs(rng.normal(size=(600, 64))),
    "wide and narrow classes": lambda rng: (
        lambda kind: rng.normal(size=(600, 32)) * (0.3 + 0.2 * kind[:, None]) + 4 * np.eye(10, 32)[kind]
    )(rng.integers(0, 10, 600)),
    "heavy tails": lambda rng: rng.standard_t(5, (600, 32)),
}


@pytest.mark.parametrize("kind", CLEAN)
def test_a_clean_set_keeps_to_the_share(kind: str) -> None:
    flagged = [len(feature_outliers(CLEAN[kind](np.random.default_rng(seed)), share=0.01).indices) for seed in range(8)]
    assert np.mean(flagged) / 600 <= 0.012


def test_planted_outliers_are_found_and_come_first() -> None:
    features = FEATURES.copy()
    features[[5, 700, 801]] = FEATURES.mean(0) + 8 * FEATURES.std(0) * RNG.choice([-1, 1], (3, 24))
    found = feature_outliers(features)
    assert set(found.indices[:3]) == {5, 700, 801}
    assert len(found.indices) <= 3 + 0.005 * 1200
    assert found.threshold == found.score[found.indices[-1]]
    assert (np.diff(found.score[found.indices]) <= 0).all()


def test_few_values_have_no_outliers() -> None:
    assert len(feature_outliers(np.append(np.zeros((30, 2)), [[9, 9]], 0)).indices) == 0
    assert len(value_outliers(np.append(np.zeros(30), 9.0)).indices) == 0
    assert value_outliers(np.zeros(0)).threshold == math.inf


def test_equal_values_have_no_outliers() -> None:
    assert len(value_outliers(np.full(500, 0.3)).indices) == 0
    assert len(feature_outliers(np.ones((500, 3))).indices) == 0


@pytest.mark.parametrize("draw", ["normal", "exponential", "lognormal", "uniform", "laplace"])
def test_clean_properties_keep_to_the_share(draw: str) -> None:
    flagged = [len(value_outliers(getattr(np.random.default_rng(seed), draw)(size=2000)).indices) for seed in range(10)]
    assert np.mean(flagged) / 2000 <= 0.005


def test_the_tail_of_an_exponential_is_exact() -> None:
    values = np.random.default_rng(0).exponential(3, 200_000)
    chance = tail_probabilities(values)
    for probability in (0.2, 0.01, 1e-4):
        place = -3 * math.log(probability)
        nearest = np.abs(values - place).argmin()
        assert chance[nearest] == pytest.approx(probability, rel=0.08)


@given(st.integers(0, 40), st.floats(1e3, 1e9))
def test_outliers_do_not_hide_each_other(count: int, size: float) -> None:
    clean = np.random.default_rng(0).exponential(1, 1000)
    found = tail_probabilities(np.append(clean, np.full(count, size)))
    assert (found[1000:] < 1e-9).all()
    assert (found[:1000] <= 0.005).mean() <= 0.01


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=60), st.floats(0.1, 10), st.floats(-100, 100))
def test_robust_z_does_not_depend_on_units(values: list[float], unit: float, origin: float) -> None:
    numbers = np.array(values)
    expected = robust_z(numbers, smallest_scale=1e-2)
    assert robust_z(unit * numbers + origin, smallest_scale=unit * 1e-2) == pytest.approx(expected, rel=1e-4, abs=1e-2)


REFUSED = [
    (lambda: neighbour_distances(np.zeros(5)), r"finite features \(n, d\)"),
    (lambda: neighbour_distances(np.zeros((1, 5))), "two images or more"),
    (lambda: neighbour_distances(np.zeros((5, 0))), "finite features"),
    (lambda: neighbour_distances(np.full((5, 2), np.nan)), "finite features"),
    (lambda: neighbour_distances(FEATURES, neighbours=0), "at least one neighbour"),
    (lambda: feature_outliers(FEATURES, share=0), "strictly between 0 and 1"),
    (lambda: value_outliers(FEATURES), r"finite values \(n,\)"),
    (lambda: value_outliers(np.array([math.inf])), "finite values"),
    (lambda: value_outliers(np.zeros(50), share=1.0), "strictly between 0 and 1"),
]


@pytest.mark.parametrize(("call", "message"), REFUSED)
def test_refused(call: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        call()  # type: ignore[operator]
