"""Shadow models: who is in which half, what they are trained on, and what their attack finds."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import snellen
from snellen.core.errors import InputError
from snellen.core.randomness import Randomness
from snellen.methods.forgetting.forget_split import ForgetSplit
from snellen.methods.forgetting.judging import ForgettingCase
from snellen.methods.forgetting.retraining import Retraining
from snellen.methods.forgetting.shadows import Shadows

DATA = "optotypes:scenes?count=60&shapes=star,heart&size=28&seed=3"
RECIPE = {"plan": {"epochs": 8, "batch_size": 16, "optimizer": "adamw", "learning_rate": 5e-3}}


@pytest.fixture(scope="module")
def shadows(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained") / "artifact"
    trained = {"method": "supervised", "architecture": "fashion_cnn", "side": 28, **RECIPE}
    snellen.train(trained, f"{DATA}#train", out=folder, onnx=False)
    case = ForgettingCase.of(
        snellen.load_classifier(f"artifact:{folder}"), snellen.load_images(f"{DATA}#train"),
        snellen.load_images(f"{DATA}#test").limit(20),
    )  # fmt: skip
    split = ForgetSplit(case.store, torch.arange(0, 40, 4))
    return Shadows(case, split, Retraining(**RECIPE), 6, Randomness(0))


def test_each_image_is_in_half_of_the_shadow_models(shadows):
    inside = np.stack([shadows.inside(number) for number in range(6)])
    assert len(shadows.attacked) == 10 + 20
    assert (inside.sum(0) == 3).all()
    assert (inside.sum(1) == 15).all()
    assert not np.array_equal(inside[0], inside[2]), "another pair takes other halves"
    assert shadows.attacked.ids[:10] == tuple(f"forget/{shadows.case.store.ids[row]}" for row in range(0, 40, 4))


def test_a_shadow_model_sees_all_remaining_images_and_its_half(shadows, monkeypatch):
    seen = []

    def forget(self, network, split, **_):
        seen.append(split.remaining.ids)
        return network

    monkeypatch.setattr(Retraining, "forget", forget)
    shadows.trained(1)
    remaining = {f"remaining/{one}" for one in shadows.split.remaining.ids}
    half = {f"attacked/{one}" for one, inside in zip(shadows.attacked.ids, shadows.inside(1), strict=True) if inside}
    assert set(seen[0]) == remaining | half


def test_a_network_that_learned_the_images_by_heart_is_caught_and_a_stranger_is_not(shadows):
    rng = np.random.default_rng(0)
    inside = np.stack([shadows.inside(number) for number in range(6)])
    hard = rng.normal(0, 4, 30)
    known = [hard + 3 * one + rng.normal(0, 0.5, 30) for one in inside]
    member = np.arange(30) < 10
    caught = shadows.separation(hard + 3 * member, known)
    free = shadows.separation(hard, known)
    assert caught.value == 1.0
    assert caught.low > 0.5
    assert free.low < 0.5 < free.high
    assert caught.n == 30


@pytest.mark.parametrize("count", [2, 5])
def test_shadow_models_come_in_pairs(shadows, count):
    with pytest.raises(InputError, match=f"4 or more; got {count}"):
        Shadows(shadows.case, shadows.split, shadows.exact, count, Randomness(0))
