"""Allowed sets of searches without a bound: the whole box, and a start where another search ended."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from snellen.core.randomness import Randomness
from snellen.methods.attacks.perturbation.projections import L2Ball, Projection


@dataclass(frozen=True)
class WholeBox(L2Ball):
    """Every image, with Euclidean distances; no distance of a candidate is computed.

    >>> WholeBox().contains(torch.ones(2, 3, 4, 4), torch.zeros(2, 3, 4, 4)).tolist()
    [True, True]
    """

    epsilon: float = torch.inf

    def contains(self, candidates: Tensor, images: Tensor) -> Tensor:
        """All of them: bool (n,)."""
        return torch.ones(len(images), dtype=torch.bool, device=images.device)


@dataclass(frozen=True, eq=False)
class GivenStart:
    """The allowed set of ``projection``; with ``random_start=True``, searches start from ``candidates``.

    All images of the call must be searched together: candidates (n, 3, h, w) are those of the whole batch, and images
    that meet the criterion from the start must have been left out of it.
    """

    projection: Projection
    candidates: Tensor

    def project(self, candidates: Tensor, images: Tensor) -> Tensor:
        """Nearest allowed candidates."""
        return self.projection.project(candidates, images)

    def sample(self, images: Tensor, rng: Randomness) -> Tensor:
        """The given candidates."""
        assert images.shape == self.candidates.shape, "a given start is one for all images of the call"
        return self.candidates

    def distance(self, candidates: Tensor, images: Tensor) -> Tensor:
        """Distance in the norm of the set: (n,)."""
        return self.projection.distance(candidates, images)

    def contains(self, candidates: Tensor, images: Tensor) -> Tensor:
        """Find the candidates that are allowed: bool (n,)."""
        return self.projection.contains(candidates, images)
