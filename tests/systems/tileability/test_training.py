"""A small training learns what repeats, and content alone does not give the answer away."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from snellen.core.errors import InputError
from snellen.core.preprocessing import Preprocessing, to_unit
from snellen.core.randomness import Randomness
from snellen.data.worlds.textures.textures import Textures
from snellen.metrics.auroc import auroc
from snellen.systems.tileability.tileability import Tileability
from snellen.systems.tileability.training import PLAN, beside_its_twin, fit_tileability, pairs_of
from snellen.training.batches import Batch, ImageStore
from tests.systems.tileability.test_network import TINY

CROPS = Textures(count=240, size=32, generators=("dots", "stripes", "cells"), failures=("crop",), seed=4)
PREPARATION = Preprocessing(size=(32, 32))


def clouds(count, seed):
    """Smooth noise that repeats after 32 pixels, beside 32 pixels of noise that repeats after 44: uint8 (n, 2, …)."""
    generator = torch.Generator().manual_seed(seed)
    drawn = []
    for side in (32, 44):
        spectrum = torch.fft.fft2(torch.randn(count, 3, side, side, generator=generator))
        away = torch.fft.fftfreq(side)
        low = (away[:, None] ** 2 + away[None] ** 2 < 0.12**2).float()
        field = torch.fft.ifft2(spectrum * low).real[:, :, :32, :32]
        drawn.append(0.5 + 0.18 * field / field.std((1, 2, 3), keepdim=True))
    images = (255 * torch.stack(drawn, 1).clamp(0, 1)).to(torch.uint8)
    return ImageStore.of_tensors(images, torch.ones(count, dtype=torch.int64))


def area(metric, pairs):
    images = to_unit(pairs.images.flatten(0, 1))
    with torch.no_grad():
        return auroc(np.tile([1, 0], len(pairs.images)), metric.logits(images).double().numpy())


def shaded(count, seed):
    """Noise that repeats, beside the same with light that falls from left to right."""
    whole = clouds(count, seed).images[:, 0]
    light = torch.linspace(1.2, 0.8, 32)
    images = torch.stack([whole, (whole * light).clamp(0, 255).to(torch.uint8)], 1)
    return ImageStore.of_tensors(images, torch.ones(count, dtype=torch.int64))


@pytest.mark.covers("21.7")
def test_content_does_not_give_a_seam_away():
    plan = PLAN.model_copy(update={"epochs": 20, "batch_size": 24, "warmup_steps": 10, "ema_decay": 0.9})
    config = TINY.model_copy(update={"side": 32})
    found = {}
    for kind in (clouds, shaded):
        alone = fit_tileability(kind(240, 1), config=config, plan=plan, after=0, tiles=1)
        assert not alone.training
        found[kind] = area(alone, kind(200, 2))
    assert found[clouds] < 0.62, "without tiles, a texture and its twin look alike"
    assert found[shaded] > 0.8, "it learns what an image shows"


@pytest.mark.covers("21.8")
def test_held_out_patterns_and_seeds_share_no_texture():
    textures = Textures(count=40, size=32, held_out=("dots", "stripes"), seed=1)
    train, test = textures.images(split="train"), textures.images(split="test")
    assert not set(train.column("group")) & set(test.column("group"))
    assert not set(train.content_hashes) & set(test.content_hashes)
    units = train.column("unit_id")
    assert len(set(units)) == 20, "a texture and its broken twin are one unit"


def test_the_same_call_gives_the_same_weights():
    pairs = clouds(48, 3)
    plan = PLAN.model_copy(update={"epochs": 1, "warmup_steps": 1})
    first, second = (fit_tileability(pairs, config=TINY, plan=plan) for _ in range(2))
    assert all(
        torch.equal(one, other)
        for one, other in zip(first.state_dict().values(), second.state_dict().values(), strict=True)
    )


def test_partners_are_twins_and_strangers_where_there_are_none():
    textures = CROPS.model_copy(update={"count": 8}).images(split="train")
    pairs = pairs_of(textures, PREPARATION)
    stored = np.stack([np.asarray(textures.read(row)) for row in range(8)])
    assert np.array_equal(pairs.images.permute(0, 1, 3, 4, 2).numpy(), stored.reshape(4, 2, 32, 32, 3))
    assert list(pairs.ids) == list(textures.ids[::2])
    lone = pairs_of(textures.select([1, 2, 4, 6, 7]), PREPARATION)
    assert np.array_equal(lone.images[2, 1].permute(1, 2, 0).numpy(), stored[7]), "6 and 7 are twins"
    assert np.array_equal(lone.images[0, 1].permute(1, 2, 0).numpy(), stored[1]), "2 has none"
    with pytest.raises(InputError, match="got 2 and 0"):
        pairs_of(textures.select([0, 2]), PREPARATION)


def test_a_pair_is_changed_alike_and_half_of_the_partners_are_broken_anew():
    shown = []

    class Seen(Tileability):
        def logits(self, images):
            shown.append(images)
            return images.mean((1, 2, 3))

    same = torch.rand(64, 1, 3, 32, 32).expand(-1, 2, -1, -1, -1)
    batch = Batch(same, torch.ones(64), torch.ones(64), torch.arange(64), Randomness(1).bind(64), 2)
    losses = beside_its_twin(1)(Seen.of(TINY, 1), batch)
    assert losses.shape == (64,)
    whole, others = shown[0].chunk(2)
    apart = (whole - others).abs().mean((1, 2, 3))
    kept = int((apart < 1e-6).sum())
    anew = beside_its_twin(2)(Seen.of(TINY, 1), batch)
    assert int(((shown[1][:64] - shown[1][64:]).abs().mean((1, 2, 3)) < 0.02).sum()) < 8, "at first all are broken anew"
    assert anew.shape == (64,)
    assert 16 < kept < 48, "the set's own partner, which here is the texture itself"
