"""Bags of points on a plane with noise: positive instances lie apart, and each bag has ten instances."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from snellen.systems.multiple_instance.bag_instances import BagInstances

DIM, WIDTH = 6, 8


def small_bags(bags: int = 8, *, seed: int = 0, positives: int = 3, length: int = 10) -> tuple[BagInstances, Tensor]:
    """Bags, every second one positive, and the truth of each instance."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(bags) % 2
    truth = (torch.arange(length) < positives).long() * labels[:, None]
    vectors = torch.randn(bags, length, DIM, generator=generator)
    vectors[..., 0] += 4 * truth
    return BagInstances(
        inputs=vectors.flatten(0, 1),
        of_bag=torch.arange(bags).repeat_interleave(length),
        labels=labels,
        ids=tuple(f"bag-{bag}/{row}" for bag in range(bags) for row in range(length)),
        bag_ids=tuple(f"bag-{bag}" for bag in range(bags)),
        split="train",
    ), truth.flatten()


def small_networks() -> tuple[nn.Module, nn.Linear]:
    """An encoder and a classifier with fixed initial weights."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(DIM, WIDTH), nn.ReLU()), nn.Linear(WIDTH, 2)
