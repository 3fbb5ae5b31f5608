"""How the variable moves along its gradient. A rule's memory is tensors (n, ...), so that finished images can leave."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from snellen.perturbation.projections import l2_norm

Memory = Mapping[str, Tensor]


class StepRule(Protocol):
    """One ascent step per call."""

    def start(self, variables: Tensor) -> Memory:
        """Memory before the first step; every tensor has one row per image."""
        ...

    def step(self, variables: Tensor, gradient: Tensor, memory: Memory, iteration: int) -> tuple[Tensor, Memory]:
        """Move up the gradient; iterations count from 0."""
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
