"""The norm of an attack as a parameter: its ball and its direction of steepest ascent."""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from snellen.core.errors import InputError
from snellen.methods.attacks.perturbation import L2Ball, LinfBall, NormalizedStep, SignStep
from snellen.methods.attacks.perturbation.projections import Projection, l2_norm
from snellen.methods.attacks.perturbation.steps import StepRule

Norm = Literal["linf", "l2"]


def ball(norm: Norm, epsilon: float) -> Projection:
    """The allowed set of this norm and size."""
    return LinfBall(epsilon) if norm == "linf" else L2Ball(epsilon)


def refuse_levels(norm: str, epsilon: float | None) -> None:
    """Refuse an L-infinity size above 1, which is a number of the 255 levels of a byte and not a pixel value.

    >>> refuse_levels("linf", 8)
    Traceback (most recent call last):
    snellen.core.errors.InputError: epsilon 8 is above 1, but pixels lie in [0, 1]; write 8/255 for 8 levels of 255

    Raises:
        InputError: such a size.
    """
    if norm == "linf" and epsilon is not None and epsilon > 1:
        levels = f"{epsilon:g}" if epsilon <= 255 else "8"
        raise InputError(
            f"epsilon {epsilon:g} is above 1, but pixels lie in [0, 1]; write {levels}/255 for {levels} levels of 255"
        )


def steepest(norm: Norm, size: float) -> StepRule:
    """The step of this length that raises a linear function most."""
    return SignStep(size) if norm == "linf" else NormalizedStep(size)


def uphill(norm: Norm, gradient: Tensor) -> Tensor:
    """The change of length 1 that raises a linear function of this gradient (n, c, h, w) most; zero where that is.

    >>> import torch
    >>> uphill("l2", torch.tensor([[[[3.0, 4.0]]]])).flatten().tolist()
    [0.6000000238418579, 0.800000011920929]
    """
    return gradient.sign() if norm == "linf" else gradient / l2_norm(gradient).clamp(min=1e-12)
