"""How the variable moves along its gradient. A rule's memory is tensors (n, ...), so that finished images can leave."""

from __future__ import annotations

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
