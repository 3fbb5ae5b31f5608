"""One change for all examples of a call: a universal perturbation in the one loop.

Moosavi-Dezfooli, Fawzi, Fawzi and Frossard, "Universal adversarial perturbations", CVPR 2017, arXiv 1610.08401, for the
idea; here the gradient is averaged over the examples, as in Shafahi et al., AAAI 2020, arXiv 1811.11304.
"""

from __future__ import annotations

import torch
from torch import Tensor

from snellen.core.errors import InputError
from snellen.methods.attacks.perturbation.projections import Projection


class SharedChange:
    """The variable of every example is the same change; each sees the mean gradient, so that all move alike.

    Use it with ``keep="last"`` (no example may leave) and a projection without a box, which bounds the change alone.

    Args:
        low: smallest value of a candidate, None for no bound; candidates are clamped, the change is not.
        high: largest value of a candidate, None for no bound.

    Attributes:
        change: (1, ...) after the last step; None before any.
    """

    def __init__(self, *, low: float | None = None, high: float | None = None) -> None:
        self.low, self.high = low, high
        self.change: Tensor | None = None

    def encode(self, candidates: Tensor, images: Tensor) -> Tensor:
        """The change of the first example, for all.

        Raises:
            InputError: no example.
        """
        if not len(images):
            raise InputError("a universal perturbation needs at least one example to be found on, got none")
        self.change = (candidates - images)[:1].detach()
        return self.change.expand_as(images).clone()

    def decode(self, variables: Tensor, images: Tensor) -> Tensor:
        """Examples with the change added."""
        moved = images + variables.mean(0, keepdim=True)
        return moved if self.low is None and self.high is None else moved.clamp(self.low, self.high)

    def constrain(self, variables: Tensor, images: Tensor, projection: Projection) -> Tensor:
        """Bring the change back into the ball around nothing."""
        mean = variables.mean(0, keepdim=True)
        self.change = projection.project(mean, torch.zeros_like(mean)).detach()
        return self.change.expand_as(variables).clone()
