"""Instances that are images: an encoder in front of any head, and views that keep shape and range."""

from __future__ import annotations

import torch
from torch import nn

from snellen.core.randomness import Randomness
from snellen.systems.multiple_instance.bag_head import PooledHead
from snellen.systems.multiple_instance.image_instances import ImageEncoder, image_views, with_encoder

SIDE = 8


def test_strong_views_keep_grey_and_weak_views_change_colours() -> None:
    rows = torch.rand(6, 3, 1, generator=torch.Generator().manual_seed(0)).expand(6, 3, SIDE * SIDE).flatten(1)
    view = image_views(SIDE)
    strong, weak = (view(rows, Randomness(0), name) for name in ("strong", "weak"))
    assert torch.allclose(strong, rows, atol=1e-5)  # of one colour, which a crop does not change
    changed = (weak - rows).abs().amax(1) > 0.01
    assert changed.sum() >= 3
    assert float(weak.min()) >= 0
    assert float(weak.max()) <= 1


def test_views_follow_from_the_randomness_and_the_name() -> None:
    rows = torch.rand(4, 3 * SIDE * SIDE, generator=torch.Generator().manual_seed(0))
    view, rng = image_views(SIDE), Randomness(3).child("step").for_examples(["bag"])
    assert torch.equal(view(rows, rng, "weak"), view(rows, rng, "weak"))
    assert not torch.equal(view(rows, rng, "weak"), view(rows, rng, "bags"))
    assert not torch.equal(view(rows, rng, "weak"), view(rows, rng.child("next"), "weak"))


def test_a_head_on_bags_trains_the_encoder_in_front_of_it() -> None:
    encoder = ImageEncoder(nn.Sequential(nn.Conv2d(3, 4, SIDE), nn.Flatten()), SIDE)
    head = with_encoder(PooledHead(1, 4, pooling="mean"), encoder)
    assert isinstance(head, PooledHead)
    head.losses(
        torch.rand(2, 5, 3 * SIDE * SIDE), torch.ones(2, 5, dtype=torch.bool), torch.tensor([0, 1])
    ).sum().backward()
    weight = encoder.network[0].weight  # type: ignore[index]
    assert weight.grad is not None
    assert float(weight.grad.abs().sum()) > 0
