"""Heads that give a margin: they learn, their shapes, and the rate of their training."""

import pytest
import torch

from snellen.core.errors import InputError
from snellen.core.randomness import Randomness
from snellen.models.encoders.margin_heads import (
    ConceptThresholds,
    FeatureNetwork,
    HeadFit,
    MultipleHeads,
    PrototypeHead,
    SafetyNetwork,
    fit_head,
    published_heads,
)


def blobs(count=300):
    generator = torch.Generator().manual_seed(0)
    places = torch.arange(count) % 3
    unsafe = (torch.arange(count) // 3) % 2
    centres = torch.eye(8)[places] * unsafe[:, None] * 3 + torch.eye(8)[7] * (1 - unsafe[:, None]) * 3
    return centres + 0.3 * torch.randn(count, 8, generator=generator), unsafe, places


@pytest.mark.parametrize("head", [PrototypeHead(8), FeatureNetwork(8), MultipleHeads(8, 3, width=32)], ids=repr)
def test_heads_learn_and_give_margins_before_any_softmax(head):
    features, unsafe, places = blobs()
    fit_head(head, features, unsafe, heads=places if isinstance(head, MultipleHeads) else None, rng=Randomness(0))
    margins = head(features).detach()
    assert margins.shape == (300,)
    assert float(((margins > 0).long() == unsafe).float().mean()) > 0.95
    assert not head.training
    two = SafetyNetwork(torch.nn.Identity(), head)(features)
    assert torch.equal(two[:, 1] - two[:, 0], margins)


def test_five_heads_each_know_their_own_category():
    features, unsafe, places = blobs()
    head = MultipleHeads(8, 3, width=32)
    fit_head(head, features, unsafe, heads=places, rng=Randomness(0))
    each = head.each(features).detach()
    rows = unsafe == 1
    assert float((each[rows].argmax(1) == places[rows]).float().mean()) > 0.95
    assert torch.equal(head(features), head.each(features).amax(1))


def test_a_threshold_is_learned_for_each_concept():
    features, unsafe, _ = blobs()
    head = ConceptThresholds(torch.eye(8)[:3])
    concepts = head.concepts.clone()
    head.thresholds.data.fill_(-0.9)
    fit_head(head, features, unsafe, fit=HeadFit(epochs=200, learning_rate=2e-2), rng=Randomness(0))
    assert float(((head(features) > 0).long() == unsafe).float().mean()) > 0.95
    assert torch.equal(head.concepts, concepts)


def test_published_heads_have_their_shapes():
    heads = published_heads(768, torch.randn(4, 768), 5)
    sizes = {name: sum(one.numel() for one in head.parameters()) for name, head in heads.items()}
    assert sizes["q16"] == 2 * 768
    assert sizes["multi-headed"] == 5 * (768 * 384 + 384 + 2 * 384 + 384 + 1)
    assert sizes["nsfw-detector"] == 768 * 64 + 64 + 64 * 512 + 512 + 512 * 256 + 256 + 256 + 1
    assert sizes["sd-filter"] == 4


def test_one_kind_of_images_fits_no_head():
    with pytest.raises(InputError, match="one kind alone"):
        fit_head(PrototypeHead(8), torch.randn(6, 8), torch.ones(6).long(), rng=Randomness(0))


@pytest.mark.parametrize(("count", "batch", "steps"), [(100, 128, 6), (130, 128, 6), (140, 128, 12), (96, 32, 18)])
def test_the_rate_of_a_head_falls_once_to_nothing(monkeypatch, count, batch, steps):
    rates, usual = [], torch.optim.AdamW.step
    monkeypatch.setattr(
        torch.optim.AdamW, "step", lambda self, *rest: rates.append(self.param_groups[0]["lr"]) or usual(self, *rest)
    )
    features, unsafe, _ = blobs(count)
    fit_head(PrototypeHead(8), features, unsafe, fit=HeadFit(epochs=6, batch_size=batch), rng=Randomness(0))
    assert len(rates) == steps
    assert rates == sorted(rates, reverse=True)
    assert rates[0] == HeadFit().learning_rate
    assert rates[-1] < 0.1 * rates[0]


def test_categories_of_images_belong_to_several_heads():
    features, unsafe, places = blobs(30)
    with pytest.raises(InputError, match="got them for PrototypeHead"):
        fit_head(PrototypeHead(8), features, unsafe, heads=places, rng=Randomness(0))
