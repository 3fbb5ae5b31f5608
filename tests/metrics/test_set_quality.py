"""Recognisability and diversity against independent formulas."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from snellen.core.errors import InputError
from snellen.metrics.set_quality import diversity, recognisability

sklearn = pytest.importorskip("sklearn.metrics")


@given(st.integers(0, 10_000))
def test_recognisability_is_the_f1_of_each_class(seed):
    rng = np.random.default_rng(seed)
    labels, predictions = rng.integers(0, 4, 30), rng.integers(0, 4, 30)
    expected = sklearn.f1_score(labels, predictions, labels=range(4), average=None, zero_division=0)
    found = recognisability(predictions, labels, 5)
    for index in range(4):
        if (labels == index).any():
            assert found[index] == pytest.approx(expected[index])
    assert np.isnan(found[4])


def test_an_image_of_no_known_class_is_wrong():
    assert recognisability(np.array([-1, 0]), np.array([0, 0]), 1).tolist() == [pytest.approx(2 / 3)]


def test_diversity_is_the_spread_within_classes_and_not_between_them():
    rng = np.random.default_rng(0)
    features = rng.normal(0, [[2.0]], (4000, 3))
    labels = np.repeat([0, 1], 2000)
    features[labels == 1] = features[labels == 1] / 4 + 100
    assert diversity(features, labels, 2) == pytest.approx([2.0, 0.5], rel=0.05)
    # It does not grow with the number of images.
    assert diversity(features[:200], labels[:200], 1) == pytest.approx([2.0], rel=0.2)
    assert np.isnan(diversity(features[:1], labels[:1], 1)).all()


def test_wrong_shapes_are_refused():
    with pytest.raises(InputError, match="one prediction belongs to each image"):
        recognisability(np.array([0]), np.array([0, 0]), 1)
    with pytest.raises(InputError, match="labels are 0 to 1; got 0 to 2"):
        recognisability(np.array([0, 1]), np.array([0, 2]), 2)
    with pytest.raises(InputError, match="at least one"):
        diversity(np.zeros((0, 2)), np.zeros(0, dtype=np.int64), 2)
    with pytest.raises(InputError, match="finite"):
        diversity(np.array([[np.nan]]), np.array([0]), 1)
