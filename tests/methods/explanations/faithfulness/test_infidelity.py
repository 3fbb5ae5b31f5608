"""Infidelity: zero for a linear score and its gradient, definition 2.1 by hand, and scales that do not matter."""

import pytest
import torch
from torch import nn

from snellen.core.classifier import Classifier
from snellen.core.errors import InputError
from snellen.core.randomness import Randomness
from snellen.methods.explanations.faithfulness.infidelity import infidelity
from snellen.methods.explanations.maps import moved
from snellen.methods.explanations.score import TargetScore

IMAGES = torch.rand(3, 3, 4, 4, generator=torch.Generator().manual_seed(0))
TARGETS = torch.tensor([0, 1, 1])


def linear():
    torch.manual_seed(0)
    return Classifier(nn.Sequential(nn.Flatten(), nn.Linear(48, 2)), class_names=["a", "b"])


def gradient_of(classifier):
    return classifier.module[1].weight.view(2, 3, 4, 4)[TARGETS]


def score_of(classifier):
    return TargetScore(classifier, TARGETS, "score")


def test_the_gradient_of_a_linear_score_is_faithful_and_the_same_elsewhere_is_not():
    classifier = linear()
    maps = gradient_of(classifier)
    found = infidelity(score_of(classifier), IMAGES, maps, rng=Randomness(0))
    assert float(found.plain.max()) < 1e-10
    assert float(found.scaled.max()) < 1e-10
    other = infidelity(score_of(classifier), IMAGES, moved(maps, Randomness(2)), rng=Randomness(0))
    assert bool((other.scaled > 0.2 * other.nothing).all())
    assert torch.equal(other.nothing, found.nothing)


def test_the_scale_of_a_map_matters_to_the_plain_figure_alone():
    classifier = linear()
    maps = torch.randn(3, 3, 4, 4, generator=torch.Generator().manual_seed(1))
    one = infidelity(score_of(classifier), IMAGES, maps, rng=Randomness(0))
    ten = infidelity(score_of(classifier), IMAGES, -10 * maps, rng=Randomness(0))
    assert torch.allclose(one.scaled, ten.scaled)
    assert not torch.allclose(one.plain, ten.plain)
    assert bool((one.scaled <= one.nothing).all())
    assert bool((one.scaled <= one.plain + 1e-12).all())


def test_definition_2_1_by_hand():
    seen = []

    class Watched(nn.Module):
        def forward(self, images):
            seen.append(images)
            return images.flatten(1).square().sum(1, keepdim=True).expand(-1, 2)

    classifier = Classifier(Watched(), class_names=["a", "b"])
    maps = torch.randn(3, 4, 4, generator=torch.Generator().manual_seed(1))
    found = infidelity(score_of(classifier), IMAGES, maps, rng=Randomness(0), sigma=0.5, samples=20)
    noisy = torch.cat(seen[1:]).view(3, 20, 3, 4, 4)
    taken = IMAGES[:, None] - noisy
    foretold = (taken.mean(2) * maps[:, None]).sum((2, 3))
    changed = IMAGES.square().sum((1, 2, 3))[:, None] - noisy.square().sum((2, 3, 4))
    assert torch.allclose(found.plain.float(), (foretold - changed).square().mean(1), rtol=1e-4)
    assert torch.allclose(found.nothing.float(), changed.square().mean(1), rtol=1e-4)
    slope = (foretold * changed).sum(1) / foretold.square().sum(1)
    best = (slope[:, None] * foretold - changed).square().mean(1)
    assert torch.allclose(found.scaled.float(), best, rtol=1e-3)
    assert float(noisy.min()) == 0.0
    assert float(noisy.max()) == 1.0


def test_noise_belongs_to_an_image():
    classifier, rng = linear(), Randomness(1).for_examples(["a", "b", "c"])
    maps = torch.randn(3, 3, 4, 4, generator=torch.Generator().manual_seed(1))
    whole = infidelity(score_of(classifier), IMAGES, maps, rng=rng)
    alone = infidelity(TargetScore(classifier, TARGETS[2:], "score"), IMAGES[2:], maps[2:], rng=rng[[2]])
    assert torch.allclose(alone.plain, whole.plain[2:], rtol=1e-5)


def test_maps_without_evidence_have_no_infidelity():
    maps = torch.ones(3, 3, 4, 4)
    maps[0, 0, 0, 0] = 2.0
    maps[1, 0, 0, 0] = torch.nan
    found = infidelity(score_of(linear()), IMAGES, maps, rng=Randomness(0))
    assert found.plain.isnan().tolist() == [False, True, True]
    assert found.nothing.isnan().tolist() == [False, True, True]


def test_refusals():
    with pytest.raises(InputError, match="expected maps of the images"):
        infidelity(score_of(linear()), IMAGES, torch.rand(3, 4, 5), rng=Randomness(0))
    with pytest.raises(InputError, match="sigma above 0"):
        infidelity(score_of(linear()), IMAGES, torch.rand(3, 4, 4), rng=Randomness(0), sigma=0.0)
