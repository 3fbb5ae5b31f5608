"""The randomisation test: what is scrambled, in which order, and that a map which ignores weights is found out."""

import pytest
import torch
from scipy.stats import spearmanr
from torch import nn

from snellen.core.classifier import Classifier, Normalization
from snellen.core.errors import UnsupportedError
from snellen.core.randomness import Randomness
from snellen.methods.explanations.faithfulness.randomisation import (
    randomisation_test,
    rank_correlation,
    scrambled_classifiers,
)
from snellen.methods.explanations.gradient import gradient
from snellen.methods.explanations.score import TargetScore
from tests.tiny_network import NAMES, make_network

IMAGES = torch.rand(3, 3, 4, 4, generator=torch.Generator().manual_seed(0))
TARGETS = torch.tensor([0, 2, 1])


def classifier():
    return Classifier(
        make_network(), class_names=NAMES, normalization=Normalization((0.4, 0.5, 0.6), (0.2, 0.3, 0.2)), name="tiny"
    )


def gradients(model, images):
    return gradient(TargetScore(model, TARGETS, "score"), images).maps


def test_layers_are_scrambled_from_the_output_on_and_the_original_stays():
    model = classifier()
    before = {name: tensor.clone() for name, tensor in model.module.state_dict().items()}
    scores = model(IMAGES)
    changed = []
    names = []
    for name, other in scrambled_classifiers(model, Randomness(0)):
        names.append(name)
        state = other.module.state_dict()
        changed.append({key for key in before if not torch.equal(before[key], state[key])})
        assert not torch.equal(other(IMAGES), scores)
        for key, tensor in before.items():
            assert torch.equal(state[key].flatten().sort().values, tensor.flatten().sort().values)
    assert names == ["5", "1", "0"]
    assert {"5.weight"} <= changed[0] <= {"5.weight", "5.bias"}
    assert {"5.weight", "0.weight"} <= changed[2]
    assert not any(key.startswith("0.") for key in changed[1])
    assert not any("running" in key for key in changed[2])
    assert all(torch.equal(before[key], tensor) for key, tensor in model.module.state_dict().items())
    assert torch.equal(model(IMAGES), scores)


def test_a_map_that_ignores_the_weights_is_found_out():
    edges = (IMAGES - IMAGES.roll(1, 3)).abs().sum(1)
    blind = randomisation_test(lambda _model, _images: edges, classifier(), IMAGES, rng=Randomness(0))
    assert torch.allclose(blind.similarity, torch.ones(3, 3).double())
    assert blind.layers == ("5", "1", "0")
    honest = randomisation_test(gradients, classifier(), IMAGES, rng=Randomness(0))
    assert float(honest.similarity[:, -1].abs().max()) < 0.8
    assert float(blind.control.max()) < 0.8


def test_the_same_seed_scrambles_alike():
    one, other, third = (
        randomisation_test(gradients, classifier(), IMAGES, rng=Randomness(seed)).similarity for seed in (0, 0, 1)
    )
    assert torch.equal(one, other)
    assert not torch.equal(one, third)


def test_queries_of_the_copies_are_counted():
    model = classifier()
    with model.counting() as spent:
        randomisation_test(gradients, model, IMAGES, rng=Randomness(0))
    assert spent().gradients == 4 * 3


def test_rank_correlation_is_spearmans_of_magnitudes():
    generator = torch.Generator().manual_seed(3)
    first = torch.randn(3, 5, 5, generator=generator)
    second = first * 0.5 + torch.randn(3, 5, 5, generator=generator)
    second[1] = (second[1] * 2).round()  # ties
    found = rank_correlation(first, second)
    for row in range(3):
        expected = spearmanr(first[row].abs().flatten(), second[row].abs().flatten()).statistic
        assert float(found[row]) == pytest.approx(float(expected), abs=1e-9)
    flat = torch.full((1, 5, 5), -2.0)
    assert rank_correlation(flat, first[:1]).isnan()
    assert rank_correlation(first[:1], torch.full((1, 5, 5), torch.nan)).isnan()


def test_what_has_no_weights_is_refused():
    box = Classifier(lambda images: images.flatten(1)[:, :3], class_names=NAMES, name="box")
    with pytest.raises(UnsupportedError, match="box is not a torch module"):
        randomisation_test(lambda _model, images: images, box, IMAGES, rng=Randomness(0))
    bare = Classifier(nn.Flatten(), class_names=[str(n) for n in range(48)], name="bare")
    with pytest.raises(UnsupportedError, match="bare has no layer with weights"):
        randomisation_test(lambda _model, images: images, bare, IMAGES, rng=Randomness(0))
