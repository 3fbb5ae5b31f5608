"""What the variable of the search is: pixels themselves, or something that decodes to an image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx, once_differentiable

from snellen.methods.attacks.perturbation.projections import Projection


class Space(Protocol):
    """Variables (n, ...) that decode to images (n, 3, h, w), differentiably."""

    def encode(self, candidates: Tensor, images: Tensor) -> Tensor:
        """Variables of these candidates (the start)."""
        ...

    def decode(self, variables: Tensor, images: Tensor) -> Tensor:
        """Images of these variables, in [0, 1]."""
        ...

    def constrain(self, variables: Tensor, images: Tensor, projection: Projection) -> Tensor:
        """Bring variables back to where they may be after a step."""
        ...


@dataclass(frozen=True)
class PixelSpace:
    """The candidate image itself."""

    def encode(self, candidates: Tensor, images: Tensor) -> Tensor:
        """Identity."""
        return candidates

    def decode(self, variables: Tensor, images: Tensor) -> Tensor:
        """Identity."""
        return variables

    def constrain(self, variables: Tensor, images: Tensor, projection: Projection) -> Tensor:
        """Project onto the allowed set."""
        return projection.project(variables, images)


@dataclass(frozen=True)
class TanhSpace:
    """Image = (tanh(variable) + 1) / 2, so that no step can leave the box (Carlini and Wagner 2017, section V-B).

    ``shrink`` keeps pixels at 0 and 1 away from infinity.
    """

    shrink: float = 1e-6

    def encode(self, candidates: Tensor, images: Tensor) -> Tensor:
        """Inverse of :meth:`decode`, pixels pulled in by ``shrink``."""
        return ((2 * candidates - 1) * (1 - self.shrink)).atanh()

    def decode(self, variables: Tensor, images: Tensor) -> Tensor:
        """(tanh(variable) + 1) / 2."""
        decoded: Tensor = _DecodeTanh.apply(variables)
        return decoded

    def constrain(self, variables: Tensor, images: Tensor, projection: Projection) -> Tensor:
        """Nothing to do: every variable is an image, and the distance is part of the objective, not a constraint."""
        return variables


class _DecodeTanh(torch.autograd.Function):
    """(tanh(variable) + 1) / 2 to the bit, with half the new tensors that autograd makes for it on the way back."""

    @staticmethod
    def forward(ctx: FunctionCtx, variables: Tensor) -> Tensor:
        """Variables of any shape → images."""
        tangents = variables.tanh()
        ctx.save_for_backward(tangents)
        # Halving is exact: the same bits as (tangents + 1) / 2.
        return tangents.mul(0.5).add_(0.5)

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, gradient: Tensor) -> Tensor:
        """Gradient · (1 − tanh²) / 2."""
        (tangents,) = ctx.saved_tensors  # type: ignore[attr-defined]
        return torch.ops.aten.tanh_backward(gradient, tangents).mul_(0.5)
