"""Labels that follow from metadata: a test that holds its level by unit, and the area of the prediction."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from snellen.metrics.inspection.metadata import metadata_prediction


def world(seed, n=160, unit=1, tied=0.0):
    rng = np.random.default_rng(seed)
    codes = np.repeat(np.arange(n // unit), unit)
    site, age = rng.integers(0, 3, n // unit)[codes], rng.integers(0, 2, n // unit)[codes]
    labels = rng.integers(0, 2, n // unit)[codes]
    labels = np.where(rng.random(n // unit)[codes] < tied, (site == 0).astype(int), labels)
    return labels, {"site": [f"s{one}" for one in site], "age": [f"a{one}" for one in age]}, codes


@pytest.mark.parametrize("unit", [1, 4])
def test_independent_labels_are_refused_at_the_level(unit):
    small = 0
    for seed in range(200):
        labels, factors, codes = world(seed, unit=unit, n=100 * unit)
        found = metadata_prediction(labels, factors, None if unit == 1 else codes, permutations=99, seed=seed)
        small += found.p_value <= 0.05
    assert small <= 10 + 3 * 3.1  # three standard errors


def test_images_taken_for_units_would_find_what_is_not_there():
    wrong = 0
    for seed in range(40):
        labels, factors, _ = world(seed, unit=8, n=400)
        wrong += metadata_prediction(labels, factors, None, permutations=99, seed=seed).p_value <= 0.05
    assert wrong > 15, "the test by unit above must be what keeps the level"


def test_a_tie_is_found_and_its_area_is_that_of_scikit_learn():
    labels, factors, _ = world(0, n=600, tied=0.6)
    found = metadata_prediction(labels, factors)
    assert found.p_value < 1e-3
    assert max(found.each, key=found.each.get) == "site"
    assert found.auroc == pytest.approx(roc_auc_score(labels, found.probabilities[:, 1]), abs=1e-12)
    assert found.interval().low < found.auroc < found.interval().high
    assert found.auroc > 0.7


def test_what_two_factors_say_only_together_is_found_among_pairs():
    rng = np.random.default_rng(0)
    first, second = rng.integers(0, 2, (2, 400))
    factors = {"a": list(map(str, first)), "b": list(map(str, second))}
    pair = {"a × b": [f"{one}, {other}" for one, other in zip(first, second, strict=True)]}
    labels = first ^ second
    assert metadata_prediction(labels, factors).p_value > 0.01
    found = metadata_prediction(labels, factors | pair)
    assert found.p_value < 1e-3
    assert found.auroc > 0.95


def test_too_little_to_say_anything():
    site = ["A", "B"] * 20
    assert metadata_prediction(np.zeros(40, dtype=int), {"site": site}) is None
    assert metadata_prediction(np.arange(40) % 2, {"site": ["A"] * 40}) is None
    assert metadata_prediction(np.arange(10) % 2, {"site": site[:10]}) is None
