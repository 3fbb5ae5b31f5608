"""Norm balls around a representation: the balls of pixels without their box, or with a floor of their own.

Activations are not bounded by [0, 1]. Behind a nonlinearity they may be bounded from below all the same: with ``low`` a
search stays among the values that the network itself can reach there.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from snellen.core.randomness import Randomness
from snellen.methods.attacks.perturbation.projections import L2Ball, LinfBall, l2_norm


@dataclass(frozen=True)
class OpenLinfBall(LinfBall):
    """Every value within ``epsilon`` of the clean one, and at least ``low``.

    >>> import torch
    >>> OpenLinfBall(0.5).project(torch.full((1, 1, 1, 1), 9.0), torch.full((1, 1, 1, 1), 3.0)).item()
    3.5
    """

    low: float | None = None

    def project(self, candidates: Tensor, images: Tensor) -> Tensor:
        """Clamp the change to ±epsilon, then the result to what is reachable."""
        moved = (candidates - images).clamp_(-self.epsilon, self.epsilon).add_(images)
        return moved if self.low is None else moved.clamp_(min=self.low)

    def sample(self, images: Tensor, rng: Randomness) -> Tensor:
        """Uniform in the ball."""
        noise = rng.uniform("start", images.shape[1:], -self.epsilon, self.epsilon, like=images)
        return images + noise if self.low is None else (images + noise).clamp_(min=self.low)

    def contains(self, candidates: Tensor, images: Tensor) -> Tensor:
        """Distance at most epsilon, up to rounding, which grows with the values: bool (n,)."""
        slack = 1e-6 * images.abs().flatten(1).amax(1).clamp(min=1.0)
        return self.distance(candidates, images) <= self.epsilon + slack


@dataclass(frozen=True)
class OpenL2Ball(L2Ball):
    """Euclidean distance at most ``epsilon``, and every value at least ``low``."""

    low: float | None = None

    def project(self, candidates: Tensor, images: Tensor) -> Tensor:
        """Scale the change down to length epsilon, then clamp the result to what is reachable."""
        change = candidates - images
        moved = change.mul_((self.epsilon / l2_norm(change).clamp(min=1e-12)).clamp(max=1.0)).add_(images)
        # Clean values are reachable, so that clamping makes no change longer.
        return moved if self.low is None else moved.clamp_(min=self.low)

    def sample(self, images: Tensor, rng: Randomness) -> Tensor:
        """Uniform in the ball (Gaussian direction, radius ε·u^(1/d))."""
        direction = rng.normal("start", images.shape[1:], like=images)
        radius = rng.uniform("radius", (1, 1, 1), like=images) ** (1.0 / images[0].numel())
        moved = images + direction * (self.epsilon * radius / l2_norm(direction))
        return moved if self.low is None else moved.clamp_(min=self.low)

    def contains(self, candidates: Tensor, images: Tensor) -> Tensor:
        """Distance at most epsilon, up to rounding, which grows with the values: bool (n,)."""
        slack = 1e-5 * (1.0 + l2_norm(images).flatten().clamp(min=self.epsilon))
        return self.distance(candidates, images) <= self.epsilon + slack
