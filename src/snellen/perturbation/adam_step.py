"""Adam as a step rule: Kingma and Ba, "Adam: a method for stochastic optimization", ICLR 2015, algorithm 1."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from snellen.perturbation.steps import Memory


@dataclass(frozen=True)
class AdamStep:
    """Adam with its usual decay rates. Every image has its own moments, so that finished images can leave.

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
        first = memory["first"].mul_(for_first).add_(gradient, alpha=1 - for_first)
        second = memory["second"].mul_(for_second).addcmul_(gradient, gradient, value=1 - for_second)
        root = second.sqrt().div_(math.sqrt(1 - for_second ** (iteration + 1))).add_(self.floor)
        moved = torch.addcdiv(variables, first, root, value=self.size / (1 - for_first ** (iteration + 1)))
        return moved, memory
