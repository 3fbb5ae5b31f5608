"""An attack on a model whose classes stand in another order than the names that it was given."""

import warnings

import numpy as np
import pytest
import torch
from torch import nn

import snellen

NAMES = ["a", "b", "c"]


def network(order=(0, 1, 2)):
    """Right on every image: it reads the class from the mean of a channel. Outputs stand in an order."""
    layer = nn.Linear(3, 3, bias=False)
    layer.weight.data = torch.eye(3)[list(order)] * 20
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), layer)


@pytest.fixture
def images():
    labels = np.arange(60) % 3
    pixels = np.full((60, 3, 8, 8), 60, dtype=np.uint8)
    pixels[np.arange(60), labels] = 200
    return snellen.load_images(pixels, labels, class_names=NAMES)


def test_classes_in_another_order_are_warned_of(images, tmp_path):
    with pytest.warns(UserWarning, match=r"Classes look permuted: a ↔ b") as warned:
        attacked = snellen.attack(network((1, 0, 2)), images, "fgsm", out=tmp_path / "out")
    assert warned[0].filename == __file__
    assert "right in the given order, and 100.0% in this one. Give class_names=[...]" in str(warned[0].message)
    (doubt,) = [one for one in attacked.settings["fgsm"].doubts if "permuted" in one]
    assert f"doubt: {doubt}" in attacked.summary().parts
    assert f"warning: {doubt}" in str(attacked)
    with pytest.warns(UserWarning, match="Classes look permuted"):
        snellen.attack(network((1, 0, 2)), images, "fgsm", out=tmp_path / "out")


def test_the_right_order_and_plain_mistakes_are_not(images):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for model in (network(), network((0, 0, 0))):
            assert snellen.attack(model, images, "fgsm").permuted is None
