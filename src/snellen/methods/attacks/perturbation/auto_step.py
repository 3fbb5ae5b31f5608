"""Steps that set their own length: Auto-PGD.

Croce and Hein, "Reliable evaluation of adversarial robustness with an ensemble of diverse parameter-free attacks",
ICML 2020, arXiv 2003.01690, algorithm 1. The start is long, 2 · epsilon, and every image halves its own length at those
checkpoints at which its objective has risen too seldom or not at all; it then goes back to the highest point so far.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from snellen.methods.attacks.perturbation.projections import Projection
from snellen.methods.attacks.perturbation.steps import Memory


def checkpoints(steps: int) -> tuple[int, ...]:
    """Iterations after which step lengths are reconsidered, in rising order, all within [1, steps].

    w_j = ⌈p_j · steps⌉ with p_1 = 0.22 and p_{j+1} = p_j + max(p_j − p_{j−1} − 0.03, 0.06), in exact hundredths.

    >>> checkpoints(100)
    (22, 41, 57, 70, 80, 87, 93, 99)
    """
    share, gap, found = 22, 22, []
    while share <= 100:
        found.append(-(-share * steps // 100))
        gap = max(gap - 3, 6)
        share += gap
    return tuple(dict.fromkeys(found))


@dataclass(frozen=True)
class AutoStep:
    """Momentum steps of halving length (algorithm 1): z = P(x + η·d), next x = P(x + α(z − x) + (1 − α)(x − x_before)).

    The second projection is left to the space of the search, which projects after every step of any rule.

    Args:
        projection: the allowed set P.
        direction: gradient (n, c, h, w) → direction d of steepest ascent.
        size: first length η, in the units of the norm; 2 · epsilon in the paper.
        steps: gradient steps of the search, which place the checkpoints.
        momentum: α, the weight of the new step; 1 is no momentum.
        rising: ρ, share of rising steps below which a length is halved.
    """

    projection: Projection
    direction: Callable[[Tensor], Tensor]
    size: float
    steps: int
    momentum: float = 0.75
    rising: float = 0.75

    def start(self, variables: Tensor) -> Memory:
        """Nothing seen yet: every objective is higher than the best so far, and none is higher than the last."""
        infinity = variables.new_full((len(variables),), torch.inf)
        return {
            "before": variables,
            "best": variables,
            "best_gradient": torch.zeros_like(variables),
            "best_value": -infinity,
            "best_at_checkpoint": -infinity,
            "last_value": infinity,
            "rises": torch.zeros_like(infinity),
            "size": torch.full_like(infinity, self.size),
            "kept_size": torch.zeros_like(infinity, dtype=torch.bool),
        }

    def watch(self, values: Tensor, images: Tensor, memory: Memory) -> Memory:
        """Remember how high the variables are and where the clean images lie."""
        return {**memory, "value": values.to(memory["size"].dtype), "images": images}

    def step(self, variables: Tensor, gradient: Tensor, memory: Memory, iteration: int) -> tuple[Tensor, Memory]:
        """One step, after the halving that is due at a checkpoint."""
        now, value = dict(memory), memory["value"]
        higher = value > now["best_value"]
        row = higher.view(-1, *[1] * (variables.ndim - 1))
        now["best"] = torch.where(row, variables, now["best"])
        now["best_gradient"] = torch.where(row, gradient, now["best_gradient"])
        now["best_value"] = torch.where(higher, value, now["best_value"])
        now["rises"] = now["rises"] + (value > now["last_value"])
        now["last_value"] = value
        if iteration == 0:
            now["best_at_checkpoint"] = value
            now["kept_size"] = torch.ones_like(higher)
        marks = checkpoints(self.steps)
        if iteration in marks:
            position = marks.index(iteration)
            period = iteration - (marks[position - 1] if position else 0)
            variables, gradient = self._reconsider(now, variables, gradient, period)
        moved = self.projection.project(
            variables + now["size"].view(row.shape) * self.direction(gradient), now["images"]
        ).sub_(variables)
        if iteration and self.momentum != 1:
            moved = self.momentum * moved + (1 - self.momentum) * (variables - now["before"])
        now["before"] = variables
        return variables + moved, now

    def _reconsider(
        self, now: dict[str, Tensor], variables: Tensor, gradient: Tensor, period: int
    ) -> tuple[Tensor, Tensor]:
        """Halve lengths where one of the two conditions holds, and go back to the best point there."""
        seldom = now["rises"] < self.rising * period
        stuck = now["kept_size"] & (now["best_value"] <= now["best_at_checkpoint"])
        halve = seldom | stuck
        now["size"] = torch.where(halve, now["size"] / 2, now["size"])
        now["kept_size"], now["best_at_checkpoint"] = ~halve, now["best_value"]
        now["rises"] = torch.zeros_like(now["rises"])
        row = halve.view(-1, *[1] * (variables.ndim - 1))
        return torch.where(row, now["best"], variables), torch.where(row, now["best_gradient"], gradient)
