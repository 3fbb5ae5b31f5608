"""Where candidates must stay and start: norm balls around the clean image, cut with the box [0, 1], or the whole box.

Epsilon is in pixel units.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from snellen.core.randomness import Randomness


class Projection(Protocol):
    """A set of allowed images around a clean one."""

    def project(self, candidates: Tensor, images: Tensor) -> Tensor:
        """Nearest allowed candidates: (n, 3, h, w), (n, 3, h, w) → (n, 3, h, w)."""
        ...

    def sample(self, images: Tensor, rng: Randomness) -> Tensor:
        """Random allowed candidates, one for each image."""
        ...

    def distance(self, candidates: Tensor, images: Tensor) -> Tensor:
        """Distance in the norm of the set: (n,)."""
        ...

    def contains(self, candidates: Tensor, images: Tensor) -> Tensor:
        """Find the candidates that are allowed, up to rounding: bool (n,)."""
        ...


@dataclass(frozen=True)
class LinfBall:
    """Every pixel within ``epsilon`` of the clean one.

    >>> LinfBall(0.1).project(torch.full((1, 1, 1, 2), 0.9), torch.full((1, 1, 1, 2), 0.5)).flatten().tolist()
    [0.6000000238418579, 0.6000000238418579]
    """

    epsilon: float

    def project(self, candidates: Tensor, images: Tensor) -> Tensor:
        """Clamp the change to ±epsilon, then the result to [0, 1]."""
        return (candidates - images).clamp_(-self.epsilon, self.epsilon).add_(images).clamp_(0, 1)

    def sample(self, images: Tensor, rng: Randomness) -> Tensor:
        """Uniform in the ball, clamped to [0, 1]."""
        noise = rng.uniform("start", images.shape[1:], -self.epsilon, self.epsilon, like=images)
        return (images + noise).clamp_(0, 1)

    def distance(self, candidates: Tensor, images: Tensor) -> Tensor:
        """Largest absolute change of a pixel: (n,)."""
        return (candidates - images).abs().flatten(1).amax(1)

    def contains(self, candidates: Tensor, images: Tensor) -> Tensor:
        """Distance at most epsilon, up to rounding: bool (n,)."""
        return self.distance(candidates, images) <= self.epsilon + 1e-6


@dataclass(frozen=True)
class L2Ball:
    """Euclidean distance over all 3·h·w values at most ``epsilon``."""

    epsilon: float

    def project(self, candidates: Tensor, images: Tensor) -> Tensor:
        """Scale the change down to length epsilon, then clamp to [0, 1] (which cannot make it longer)."""
        change = candidates - images
        length = l2_norm(change)
        scale = (self.epsilon / length.clamp(min=1e-12)).clamp(max=1.0)
        return change.mul_(scale).add_(images).clamp_(0, 1)

    def sample(self, images: Tensor, rng: Randomness) -> Tensor:
        """Uniform in the ball (Gaussian direction, radius ε·u^(1/d)), clamped to [0, 1]."""
        direction = rng.normal("start", images.shape[1:], like=images)
        radius = rng.uniform("radius", (1, 1, 1), like=images) ** (1.0 / images[0].numel())
        return (images + direction * (self.epsilon * radius / l2_norm(direction))).clamp_(0, 1)

    def distance(self, candidates: Tensor, images: Tensor) -> Tensor:
        """Euclidean length of the change: (n,)."""
        return l2_norm(candidates - images).flatten()

    def contains(self, candidates: Tensor, images: Tensor) -> Tensor:
        """Distance at most epsilon, up to rounding: bool (n,).

        The length of a change that was scaled to epsilon comes out up to 3e-6 longer per unit of epsilon, in float32
        and at 3·512² values; the tolerance is 1e-5, in proportion above epsilon 1.
        """
        return self.distance(candidates, images) <= self.epsilon + 1e-5 * max(1.0, self.epsilon)


def l2_norm(values: Tensor) -> Tensor:
    """Euclidean length per image, kept broadcastable: (n, c, h, w) → (n, 1, 1, 1)."""
    return torch.linalg.vector_norm(values.flatten(1), dim=1).view(-1, 1, 1, 1)


def largest_entry(values: Tensor) -> Tensor:
    """Largest absolute value per image: (n, ...) → (n,); NaN where any entry is. No copy of the values is made.

    >>> largest_entry(torch.tensor([[1.0, -3.0], [2.0, 0.0]])).tolist()
    [3.0, 2.0]
    """
    flat = values.flatten(1)
    return torch.maximum(flat.amax(1), flat.amin(1).neg_())


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
