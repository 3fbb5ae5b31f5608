"""The sum of absolute changes as a distance (L1)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from snellen.core.randomness import Randomness


@dataclass(frozen=True)
class AbsoluteSum:
    """Any image of the box; the distance is the sum of the absolute changes of all values, at most ``largest``.

    >>> images = torch.zeros(1, 3, 1, 2)
    >>> changed = images + 0.25
    >>> AbsoluteSum(1.4).contains(changed, images).tolist(), AbsoluteSum().distance(changed, images).tolist()
    ([False], [1.5])
    """

    largest: float = torch.inf

    def project(self, candidates: Tensor, images: Tensor) -> Tensor:
        """Clamp to the box, then draw back towards the image until the sum fits: an allowed image, not the nearest."""
        change = candidates.clamp(0, 1) - images
        size = change.abs().flatten(1).sum(1).clamp(min=1e-12)
        return images + change * (self.largest / size).clamp(max=1).view(-1, 1, 1, 1).to(change.dtype)

    def sample(self, images: Tensor, rng: Randomness) -> Tensor:
        """The clean images: no search here starts at random in this set."""
        return images.clone()

    def distance(self, candidates: Tensor, images: Tensor) -> Tensor:
        """Sum of absolute changes: (n,)."""
        return (candidates - images).abs().flatten(1).sum(1)

    def contains(self, candidates: Tensor, images: Tensor) -> Tensor:
        """Find the images that are near enough, up to rounding: bool (n,)."""
        return self.distance(candidates, images) <= self.largest + 1e-6
