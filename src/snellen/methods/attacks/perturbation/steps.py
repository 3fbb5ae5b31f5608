"""How the variable moves along its gradient. A rule's memory is tensors (n, ...), so that finished images can leave."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from snellen.methods.attacks.perturbation.projections import l2_norm

Memory = Mapping[str, Tensor]


class StepRule(Protocol):
    """One ascent step per call."""

    def start(self, variables: Tensor) -> Memory:
        """Memory before the first step; every tensor has one row per image."""
        ...

    def step(self, variables: Tensor, gradient: Tensor, memory: Memory, iteration: int) -> tuple[Tensor, Memory]:
        """Move up the gradient; iterations count from 0."""
        ...


@runtime_checkable
class WatchingStepRule(StepRule, Protocol):
    """A step rule that also wants to know how high the variables are and which images they belong to."""

    def watch(self, values: Tensor, images: Tensor, memory: Memory) -> Memory:
        """Memory with what is worth remembering of this iteration; called before each step.

        Args:
            values: what is climbed, at the current variables: (n,).
            images: the clean images (n, 3, h, w).
            memory: of the last step.
        """
        ...


@dataclass(frozen=True)
class SignStep:
    """variable + size · sign(gradient): steepest ascent in L∞ (Goodfellow et al. 2015; Madry et al. 2018)."""

    size: float

    def start(self, variables: Tensor) -> Memory:
        """No memory."""
        return {}

    def step(self, variables: Tensor, gradient: Tensor, memory: Memory, iteration: int) -> tuple[Tensor, Memory]:
        """One signed step."""
        return torch.add(variables, gradient.sign(), alpha=self.size), memory


@dataclass(frozen=True)
class NormalizedStep:
    """variable + size · gradient / ‖gradient‖₂: steepest ascent in L2. A zero gradient moves nothing."""

    size: float

    def start(self, variables: Tensor) -> Memory:
        """No memory."""
        return {}

    def step(self, variables: Tensor, gradient: Tensor, memory: Memory, iteration: int) -> tuple[Tensor, Memory]:
        """One step of fixed length."""
        return variables + self.size * gradient / l2_norm(gradient).clamp(min=1e-12), memory


@dataclass(frozen=True)
class AdamStep:
    """Adam with its usual decay rates: every image has its own moments, so that finished images can leave.

    Kingma and Ba, "Adam: a method for stochastic optimization", ICLR 2015, algorithm 1.

    The state starts anew with every start of a search, and moves equal those of ``torch.optim.Adam(maximize=True)``.

    Attributes:
        size: learning rate, in units of the variable.
        decay: of the first and of the second moment, in [0, 1).
        floor: added to the root of the second moment.
    """

    size: float
    decay: tuple[float, float] = (0.9, 0.999)
    floor: float = 1e-8

    def start(self, variables: Tensor) -> Memory:
        """Both moments zero."""
        return {"first": torch.zeros_like(variables), "second": torch.zeros_like(variables)}

    def step(self, variables: Tensor, gradient: Tensor, memory: Memory, iteration: int) -> tuple[Tensor, Memory]:
        """One bias-corrected step up. The moments are changed in place: they belong to this search alone."""
        for_first, for_second = self.decay
        root_bias = math.sqrt(1 - for_second ** (iteration + 1))
        first = memory["first"].lerp_(gradient, 1 - for_first)
        second = memory["second"].mul_(for_second).addcmul_(gradient, gradient, value=1 - for_second)
        # √(second / bias) + floor, times √bias: one pass over the images less.
        scale = second.sqrt().add_(self.floor * root_bias)
        size = self.size * root_bias / (1 - for_first ** (iteration + 1))
        # The scale is not needed any more, and a new tensor of this size costs more than the arithmetic.
        return torch.addcdiv(variables, first, scale, value=size, out=scale), memory
