"""The norm of an attack as a parameter: its ball and its direction of steepest ascent."""

from __future__ import annotations

from typing import Literal

from snellen.perturbation import L2Ball, LinfBall, NormalizedStep, SignStep
from snellen.perturbation.projections import Projection
from snellen.perturbation.steps import StepRule

Norm = Literal["linf", "l2"]


def ball(norm: Norm, epsilon: float) -> Projection:
    """The allowed set of this norm and size."""
    return LinfBall(epsilon) if norm == "linf" else L2Ball(epsilon)


def steepest(norm: Norm, size: float) -> StepRule:
    """The step of this length that raises a linear function most."""
    return SignStep(size) if norm == "linf" else NormalizedStep(size)
