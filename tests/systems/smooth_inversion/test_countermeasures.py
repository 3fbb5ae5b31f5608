"""Objectives of attackers who know the search: what is shown to the network, under which label."""

import pytest
import torch
from torch import nn

from snellen.core.randomness import Randomness
from snellen.systems.smooth_inversion.countermeasures import AgainstInversion, NoisyTriggers
from snellen.systems.smooth_inversion.inversion import Search
from snellen.training.batches import Batch
from snellen.training.objectives import cross_entropy

SEARCH = Search(epsilon=0.5, sigma=0.1, samples=2, steps=2, sure=None)


class Watched(nn.Module):
    def __init__(self):
        super().__init__()
        self.seen, self.modes = [], []
        torch.manual_seed(0)
        self.inner = nn.Sequential(nn.Flatten(), nn.Linear(48, 3))

    def forward(self, images):
        self.seen.append(images.detach())
        self.modes.append(self.training)
        return self.inner(images)


def batch(targets):
    generator = torch.Generator().manual_seed(1)
    count = len(targets)
    return Batch(
        images=torch.rand(count, 3, 4, 4, generator=generator),
        targets=torch.tensor(targets),
        weights=torch.ones(count),
        positions=torch.arange(count),
        rng=Randomness(0).bind(count),
    )


def stamp(images, rng):
    marked = images.clone()
    marked[:, :, 0, 0] = 1.0
    return marked


def test_noisy_triggers_keep_their_own_labels():
    model, given = Watched().train(), batch([0, 1, 2])
    losses = NoisyTriggers(stamp, target=0, sigmas=(0.2, 0.2), weight=0.5)(model, given)
    (seen,) = model.seen
    assert torch.equal(seen[:3], given.images)
    noise = seen[3:] - stamp(given.images, given.rng)
    assert float(noise.std()) == pytest.approx(0.2, rel=0.3)
    each = cross_entropy(model.inner(seen), given.targets.repeat(2))
    # The image of the target's class has no second loss.
    expected = each[:3] + 0.5 * each[3:] * torch.tensor([0.0, 1.0, 1.0])
    assert torch.allclose(losses, expected)


def test_what_the_search_finds_keeps_its_own_label_and_the_training_goes_on():
    model, given = Watched().train(), batch([0, 1, 2, 1])
    losses = AgainstInversion(0, SEARCH, weight=0.5, share=0.5)(model, given)
    last = model.seen[-1]
    assert torch.equal(last[:4], given.images)
    moved = last[4:]
    assert len(moved) == 2
    lengths = (moved - given.images[1:3]).flatten(1).norm(dim=1)
    assert bool((lengths > 0.01).all())
    assert bool((lengths <= 0.5 + 1e-5).all())
    each = cross_entropy(model.inner(last), torch.tensor([0, 1, 2, 1, 1, 2]))
    assert torch.allclose(losses, each[:4] + 0.5 * torch.tensor([0.0, *each[4:].tolist(), 0.0]), atol=1e-6)
    assert model.training
    assert model.modes[-1]
    assert not model.modes[0]
    losses.sum().backward()
    assert float(model.inner[1].weight.grad.abs().sum()) > 0


def test_a_batch_of_the_target_alone_has_its_plain_losses():
    model, given = Watched().train(), batch([0, 0])
    losses = AgainstInversion(0, SEARCH)(model, given)
    assert torch.allclose(losses, cross_entropy(model.inner(given.images), given.targets))
