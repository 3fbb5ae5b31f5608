"""How the change moves, and when it is done: momentum along normalised gradients, first the box and then the ball."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from snellen.methods.attacks.perturbation import L2Ball
from snellen.methods.attacks.perturbation.projections import l2_norm, largest_entry
from snellen.methods.attacks.perturbation.steps import Memory


@dataclass(frozen=True)
class MomentumStep:
    """velocity = momentum · velocity + gradient / ‖gradient‖₂; variable + size · velocity. Sizes halve on a schedule.

    SGD with momentum as in ``torch.optim``, with each example's gradient brought to length 1 first. A gradient that is
    zero adds nothing. At the surface of a ball the velocity keeps pushing outwards, as in the published code.

    Attributes:
        size: of the first steps, in units of the variable.
        momentum: in [0, 1).
        halve_every: steps after which the size is halved, again and again.
    """

    size: float
    momentum: float = 0.9
    halve_every: int = 300

    def start(self, variables: Tensor) -> Memory:
        """At rest."""
        return {"velocity": torch.zeros_like(variables)}

    def step(self, variables: Tensor, gradient: Tensor, memory: Memory, iteration: int) -> tuple[Tensor, Memory]:
        """One step up."""
        # By the largest entry first: squares of small gradients underflow.
        largest = largest_entry(gradient).view(-1, 1, 1, 1)
        scaled = gradient / torch.where(largest > 0, largest, 1.0)
        direction = scaled / l2_norm(scaled).clamp(min=1.0)
        velocity = self.momentum * memory["velocity"] + direction
        return variables + self.size * 0.5 ** (iteration // self.halve_every) * velocity, {"velocity": velocity}


@dataclass(frozen=True)
class BoxThenBall(L2Ball):
    """The box [0, 1] first, then the ball: the change is cut to what the image allows, and scaled down after that.

    The result stays in the box, since scaling moves it towards the image, which lies inside.

    >>> images = torch.tensor([[[[1.0, 0.0]]]])
    >>> BoxThenBall(0.5).project(torch.tensor([[[[1.4, 0.3]]]]), images).flatten().tolist()
    [1.0, 0.30000001192092896]
    """

    def project(self, candidates: Tensor, images: Tensor) -> Tensor:
        """(n, 3, h, w), (n, 3, h, w) → (n, 3, h, w)."""
        change = candidates.clamp(0, 1).sub_(images)
        scale = (self.epsilon / l2_norm(change).clamp(min=1e-12)).clamp(max=1.0)
        # Rounding of the sum may leave the box by a last digit.
        return change.mul_(scale).add_(images).clamp_(0, 1)


class Sure:
    """Stop where the target has been as good as certain for some steps in a row.

    >>> sure = Sure(1, probability=0.9, patience=2)
    >>> row = torch.tensor([0])
    >>> [bool(sure(torch.tensor([-math.log(p)]), row, step)) for step, p in enumerate([0.95, 0.5, 0.95, 0.95])]
    [False, False, False, True]

    Args:
        count: searches in the batch.
        probability: of the target, above which a step counts.
        patience: steps in a row.
    """

    def __init__(self, count: int, *, probability: float = 0.99, patience: int = 20) -> None:
        self.bound, self.patience = -math.log(probability), patience
        self._row = torch.zeros(count, dtype=torch.int64)

    def __call__(self, values: Tensor, positions: Tensor, iteration: int) -> Tensor:
        """(−log of the target's probability (m,), positions (m,), step) → bool (m,)."""
        self._row = self._row.to(values.device)
        self._row[positions] = torch.where(values < self.bound, self._row[positions] + 1, 0)
        return self._row[positions] >= self.patience
