"""Selectors that need no search."""

import numpy as np
import pytest
import torch

from snellen.systems.worst_case_forget_set.baselines import (
    class_histogram,
    error_norms,
    last_features,
    moderate_coreset,
    trivial_sets,
)
from snellen.systems.worst_case_forget_set.search import losses_of
from tests.methods.forgetting.learned import learned


@pytest.mark.covers("24.12")
def test_trivial_sets_by_hand():
    network, store = learned()
    found = trivial_sets(network, store, 10)
    assert set(found) == {"lowest loss", "lowest EL2N", "moderate coreset"}
    losses = losses_of(network, store)
    assert losses[found["lowest loss"]].max() <= np.delete(losses, found["lowest loss"]).min()
    assert all(len(set(rows.tolist())) == 10 for rows in found.values())


def test_an_error_norm_is_that_of_probabilities_less_the_label():
    scores = torch.tensor([[0.0, 0.0], [20.0, 0.0]])
    assert error_norms(scores, torch.tensor([0, 1])).tolist() == pytest.approx([0.5**0.5, 2**0.5], abs=1e-6)


def test_a_moderate_coreset_lies_at_the_usual_distance():
    features = np.array([[0.0], [1.0], [2.0], [3.0], [40.0], [7.0], [8.0], [9.0]])
    targets = np.array([0, 0, 0, 0, 0, 1, 1, 1])
    # Distances to the median 2: 2, 1, 0, 1, 38, median 1; to the median 8: 1, 0, 1, median 1.
    assert moderate_coreset(features, targets, 4).tolist() == [1, 3, 5, 7]


def test_features_are_the_inputs_of_the_last_layer():
    network, store = learned()
    found = last_features(network, store)
    layer = network.network[4]
    with torch.no_grad():
        assert torch.allclose(layer(found), network(store.images.float() / 255), atol=1e-4)


def test_a_histogram_names_every_class():
    assert class_histogram(np.array([0, 2, 3]), torch.tensor([1, 1, 1, 0]), ("a", "b", "c")) == {"a": 1, "b": 2, "c": 0}
