"""A small training learns what repeats, and content alone does not give the answer away."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from snellen.core.preparation import Preparation, to_unit
from snellen.data.worlds.textures.textures import Textures
from snellen.metrics.auroc import auroc
from snellen.systems.tileability.training import PLAN, fit_tileability
from snellen.training.batches import ImageStore
from tests.systems.tileability.test_network import TINY

CROPS = Textures(count=240, size=32, generators=("dots", "stripes", "cells"), failures=("crop",), seed=4)


@pytest.fixture(scope="module")
def sets():
    return [
        ImageStore.of_images(CROPS.model_copy(update={"seed": seed}).images(split="train"), Preparation(size=(32, 32)))
        for seed in (4, 5)
    ]


def area(metric, store):
    with torch.no_grad():
        return auroc(store.targets.numpy(), metric.logits(to_unit(store.images)).double().numpy())


@pytest.mark.covers("21.7")
def test_tiled_it_learns_crops_and_untiled_it_cannot(sets):
    train, test = sets
    plan = PLAN.model_copy(update={"epochs": 12, "batch_size": 24, "warmup_steps": 10, "learning_rate": 4e-3})
    tiled = fit_tileability(train, config=TINY, plan=plan)
    assert area(tiled, test) > 0.75
    assert not tiled.training
    alone = fit_tileability(train, config=TINY, plan=plan, tiles=1)
    assert area(alone, test) < 0.68
    assert np.isfinite(area(alone, test))


@pytest.mark.covers("21.8")
def test_held_out_patterns_and_seeds_share_no_texture():
    textures = Textures(count=40, size=32, held_out=("dots", "stripes"), seed=1)
    train, test = textures.images(split="train"), textures.images(split="test")
    assert not set(train.column("group")) & set(test.column("group"))
    assert not set(train.content_hashes) & set(test.content_hashes)
    units = train.column("unit_id")
    assert len(set(units)) == 20, "a texture and its broken twin are one unit"


def test_the_same_call_gives_the_same_weights(sets):
    plan = PLAN.model_copy(update={"epochs": 1, "warmup_steps": 1})
    first, second = (fit_tileability(sets[0], config=TINY, plan=plan, broken=0.3) for _ in range(2))
    assert all(
        torch.equal(one, other)
        for one, other in zip(first.state_dict().values(), second.state_dict().values(), strict=True)
    )
    other = fit_tileability(sets[0], config=TINY, plan=plan)
    assert any(
        not torch.equal(one, two)
        for one, two in zip(first.state_dict().values(), other.state_dict().values(), strict=True)
    )
