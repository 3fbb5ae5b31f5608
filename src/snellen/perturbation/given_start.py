"""A set of allowed images whose random start is a given one: for searches that go on where another one ended."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from snellen.perturbation.projections import Projection
from snellen.randomness import Randomness


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
        """Tell which candidates are allowed: bool (n,)."""
        return self.projection.contains(candidates, images)
