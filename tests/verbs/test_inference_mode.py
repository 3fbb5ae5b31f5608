"""Calls inside torch.inference_mode, where torch computes no gradients: they give what they give outside."""

import numpy as np
import pytest
import torch
from torch import nn

import snellen

NAMES = ["a", "b", "c"]


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 3))


@pytest.fixture
def pixels():
    return np.random.default_rng(0).integers(0, 256, (12, 3, 8, 8), dtype=np.uint8)


def test_an_attack_is_the_same_inside(pixels):
    def attacked(model, names=NAMES):
        images = snellen.load_images(pixels, np.arange(12) % 3, class_names=NAMES)
        found = snellen.attack(model, images, "fgsm", class_names=names)
        return found.evidence.table.to_pylist()

    model = network()
    outside = attacked(model)
    with torch.inference_mode():
        assert attacked(model) == outside
        assert attacked(network()) == outside, "weights that were made inside"
        loaded = snellen.load_classifier(network(), NAMES, preparation=snellen.Preprocessing(size=(8, 8)))
        assert [row["success"] for row in attacked(loaded, None)] == [row["success"] for row in outside]
        assert torch.is_inference_mode_enabled()


def test_tensors_that_were_made_inside_are_attacked(pixels):
    labels = torch.arange(12) % 3
    outside = snellen.attack_tensors(network(), torch.from_numpy(pixels) / 255, labels, "fgsm")
    with torch.inference_mode():
        inside = snellen.attack_tensors(network(), torch.from_numpy(pixels) / 255, labels.clone(), "fgsm")
    assert torch.equal(inside, outside)
