"""The number of changed pixels as a distance (L0), and a step rule that leaves some pixels alone."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from snellen.core.randomness import Randomness
from snellen.methods.attacks.perturbation.steps import Memory, StepRule


@dataclass(frozen=True)
class PixelCount:
    """Any image of the box; the distance is how many of the h·w pixels differ in any channel, at most ``largest``.

    >>> images = torch.zeros(1, 3, 2, 2)
    >>> changed = images.clone()
    >>> changed[0, :, 0, 1] = 0.5
    >>> PixelCount().distance(changed, images).tolist()
    [1.0]
    """

    largest: float = torch.inf

    def project(self, candidates: Tensor, images: Tensor) -> Tensor:
        """Clamp to the box; which pixels may change is the search's affair."""
        return candidates.clamp(0, 1)

    def sample(self, images: Tensor, rng: Randomness) -> Tensor:
        """The clean images: there is no uniform draw from this set that a search could use."""
        return images.clone()

    def distance(self, candidates: Tensor, images: Tensor) -> Tensor:
        """Changed pixels: (n,), in the type of the images."""
        return (candidates != images).any(1).flatten(1).sum(1).to(images.dtype)

    def contains(self, candidates: Tensor, images: Tensor) -> Tensor:
        """At most ``largest`` pixels differ: bool (n,)."""
        return self.distance(candidates, images) <= self.largest


@dataclass(frozen=True)
class ValueCount(PixelCount):
    """As :class:`PixelCount`, but every channel of a pixel counts on its own: of 3·h·w values."""

    def distance(self, candidates: Tensor, images: Tensor) -> Tensor:
        """Changed values: (n,), in the type of the images."""
        return (candidates != images).flatten(1).sum(1).to(images.dtype)


@dataclass(frozen=True, eq=False)
class FrozenPixels:
    """A step rule that moves no pixel where ``frozen``, bool (n, 1, h, w), is set; the batch is that of the start."""

    step_rule: StepRule
    frozen: Tensor

    def start(self, variables: Tensor) -> Memory:
        """The memory of the rule itself, and the pixels."""
        return {**self.step_rule.start(variables), "frozen": self.frozen}

    def step(self, variables: Tensor, gradient: Tensor, memory: Memory, iteration: int) -> tuple[Tensor, Memory]:
        """One step of the rule, undone where pixels are frozen."""
        frozen = memory["frozen"]
        moved, changed = self.step_rule.step(variables, gradient.masked_fill(frozen, 0), memory, iteration)
        return torch.where(frozen, variables, moved), {**changed, "frozen": frozen}
