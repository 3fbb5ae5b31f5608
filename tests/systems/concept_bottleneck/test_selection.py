"""Choosing few concepts: by an elastic net, and near learned directions."""

import pytest
import torch
import torch.nn.functional as F

from snellen.core.errors import InputError
from snellen.core.randomness import Randomness
from snellen.systems.concept_bottleneck.learned_selection import (
    concept_spread,
    learned_selection,
    mahalanobis,
    nearest_unused,
)
from snellen.systems.concept_bottleneck.sparse_head import few_concepts


def told_by(places, count=400, size=10, seed=0):
    """Scores of which some decide the class, with noise."""
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randn(count, size, generator=generator) * torch.linspace(0.1, 5, size)
    standard = scores / torch.linspace(0.1, 5, size)
    labels = (standard[:, places].sum(1) + 0.3 * torch.randn(count, generator=generator) > 0).long()
    return scores, labels


def test_the_concepts_that_decide_are_kept_whatever_their_scale():
    scores, labels = told_by([0, 4, 9])
    assert few_concepts(scores, labels, 2, 3) == (0, 4, 9)
    assert few_concepts(scores, labels, 2, 10) == tuple(range(10))
    fewer = few_concepts(scores, labels, 2, 2)
    assert len(fewer) in (1, 2)
    assert set(fewer) < {0, 4, 9}


def test_numbers_out_of_range_are_refused():
    scores, labels = told_by([0])
    for keep in (0, 11):
        with pytest.raises(InputError, match=f"of 10 concepts, 1 to 10 can be kept; got {keep}"):
            few_concepts(scores, labels, 2, keep)
        with pytest.raises(InputError, match=f"1 to 4 can be kept; got {keep}"):
            learned_selection(scores, labels, 2, torch.eye(10)[:4], keep, rng=Randomness(0))


@pytest.mark.covers("1.14")
def test_fewer_concepts_than_numbers_have_a_pseudo_inverse():
    generator = torch.Generator().manual_seed(0)
    concepts = torch.randn(5, 24, generator=generator)
    mean, inverse, spread = concept_spread(concepts)
    unit = F.normalize(concepts.double(), dim=1)
    distances = mahalanobis(unit, mean, inverse)
    # Of n points that span n − 1 dimensions each is at (n − 1)² / n in the metric of their own covariance.
    assert torch.allclose(distances, torch.full((5,), 16 / 5, dtype=torch.float64))
    assert spread == pytest.approx(16 / 5)
    by_hand = torch.stack([(one - mean) @ inverse @ (one - mean) for one in unit])
    assert torch.allclose(distances, by_hand)


@pytest.mark.covers("1.14")
def test_no_concept_is_taken_twice_and_each_direction_takes_the_nearest_that_is_free():
    concepts = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.9, 0.1]])
    directions = torch.tensor([[5.0, 0.0], [2.0, 0.01], [1.0, 0.0]])
    assert nearest_unused(directions, concepts) == (0, 2, 1)
    vectors, labels = told_by([2, 3], size=6)
    chosen = learned_selection(vectors, labels, 2, torch.eye(6), 6, rng=Randomness(0), steps=5)
    assert sorted(chosen) == list(range(6))
    again = learned_selection(vectors, labels, 2, torch.eye(6), 6, rng=Randomness(0), steps=5)
    assert chosen == again


def test_learned_directions_find_the_concepts_that_decide():
    generator = torch.Generator().manual_seed(1)
    vectors = torch.randn(600, 6, generator=generator)
    labels = (vectors[:, 2] > 0).long()
    concepts = F.normalize(torch.eye(6) + 0.01 * torch.randn(6, 6, generator=generator), dim=1)
    assert 2 in learned_selection(vectors, labels, 2, concepts, 2, rng=Randomness(0))
