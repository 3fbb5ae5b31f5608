"""A two-class toy that a tiny model learns in a second."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from snellen.training import ImageStore


def make_toy(count: int, seed: int) -> ImageStore:
    """Noisy 8 x 8 images; class 1 is brighter on the right half."""
    generator = torch.Generator().manual_seed(seed)
    targets = torch.arange(count) % 2
    images = torch.randint(0, 150, (count, 3, 8, 8), generator=generator)
    images[:, :, :, 4:] += targets[:, None, None, None] * 60
    return ImageStore.of_tensors(images.to(torch.uint8), targets)


@pytest.fixture
def toy() -> ImageStore:
    return make_toy(48, seed=0)


@pytest.fixture
def toy_val() -> ImageStore:
    return make_toy(40, seed=1)


@pytest.fixture
def linear() -> nn.Module:
    """A model without BatchNorm or dropout."""
    torch.manual_seed(3)
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 2))


@pytest.fixture
def network() -> nn.Module:
    """A model with everything that a checkpoint has to carry: BatchNorm buffers, and dropout that draws."""
    torch.manual_seed(3)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Dropout(0.3), nn.Linear(256, 2)
    )
