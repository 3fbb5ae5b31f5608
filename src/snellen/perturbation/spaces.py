"""What the variable of the search is: pixels themselves, or something that decodes to an image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from snellen.perturbation.projections import Projection


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
        return (variables.tanh() + 1) / 2

    def constrain(self, variables: Tensor, images: Tensor, projection: Projection) -> Tensor:
        """Nothing to do: every variable is an image, and the distance is part of the objective, not a constraint."""
        return variables
