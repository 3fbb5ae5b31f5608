"""How like the true trigger a recovered change is, where the true one is known."""

from __future__ import annotations

import torch
from torch import Tensor

from snellen.core.errors import InputError


def energy_inside(changes: Tensor, region: Tensor) -> Tensor:
    """Share of the squared length of each change that lies where the trigger acts: (b,), 0 for no change at all.

    >>> energy_inside(torch.tensor([[[[3.0, 4.0]]]]), torch.tensor([[[False, True]]])).tolist()
    [0.6399999856948853]

    Args:
        changes: (b, c, h, w).
        region: bool (b, h, w), or (1, h, w) for all.

    Raises:
        InputError: another shape.
    """
    if region.ndim != 3 or region.shape[1:] != changes.shape[2:] or len(region) not in (1, len(changes)):
        raise InputError(f"changes {tuple(changes.shape)} need a region (b, h, w) bool, got {tuple(region.shape)}")
    energy = changes.square().sum(1)
    inside, whole = (energy * region).flatten(1).sum(1), energy.flatten(1).sum(1)
    return torch.where(whole > 0, inside / torch.where(whole > 0, whole, 1.0), 0.0)


def alignment(changes: Tensor, truth: Tensor) -> Tensor:
    """Cosine between each change and what the true trigger does to the same image: (b,) in [−1, 1]; 0 where one is 0.

    Args:
        changes: (b, c, h, w).
        truth: (b, c, h, w), image with the trigger minus image.
    """
    return torch.nn.functional.cosine_similarity(changes.flatten(1), truth.flatten(1), dim=1)


def concentration(changes: Tensor, share: float = 0.02) -> Tensor:
    """Share of the squared length in the strongest pixels: (b,); for classes without a known true trigger.

    Args:
        changes: (b, c, h, w).
        share: of the pixels that are taken, at least one.
    """
    energy = changes.square().sum(1).flatten(1)
    taken = max(round(share * energy.shape[1]), 1)
    whole = energy.sum(1)
    return torch.where(whole > 0, energy.topk(taken, 1).values.sum(1) / torch.where(whole > 0, whole, 1.0), 0.0)
