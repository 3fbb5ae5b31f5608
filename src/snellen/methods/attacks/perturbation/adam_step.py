"""Adam as a step rule: Kingma and Ba, "Adam: a method for stochastic optimization", ICLR 2015, algorithm 1."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from snellen.methods.attacks.perturbation.steps import Memory


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
        root_bias = math.sqrt(1 - for_second ** (iteration + 1))
        first = memory["first"].lerp_(gradient, 1 - for_first)
        second = memory["second"].mul_(for_second).addcmul_(gradient, gradient, value=1 - for_second)
        # √(second / bias) + floor, times √bias: one pass over the images less.
        scale = second.sqrt().add_(self.floor * root_bias)
        size = self.size * root_bias / (1 - for_first ** (iteration + 1))
        # The scale is not needed any more, and a new tensor of this size costs more than the arithmetic.
        return torch.addcdiv(variables, first, scale, value=size, out=scale), memory
