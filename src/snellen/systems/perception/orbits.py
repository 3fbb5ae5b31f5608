"""Iterating a map of images: where it leads, whether it returns, and what two perceivers say to each other.

Kupeev and Nitzany (CONN), arXiv 2310.05212: what is seen is observed again, until the image stays as it is, or returns
in a short cycle. Two persons who pass an image to and fro end on a bipartite orbit.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from snellen.core.errors import InputError

#: From observed to seen images, (n, …) → (n, …).
Map = Callable[[Tensor], Tensor]


@dataclass(frozen=True, eq=False)
class Orbit:
    """What n images became, step by step.

    Args:
        states: (k + 1, n, …), the observed images first.
    """

    states: Tensor

    @property
    def seen(self) -> Tensor:
        """The last images (n, …)."""
        return self.states[-1]

    @property
    def moves(self) -> Tensor:
        """How far each step moved each image: Euclidean norms ‖x_{i+1} − x_i‖, (k, n)."""
        return (self.states[1:] - self.states[:-1]).flatten(2).norm(dim=2)

    @property
    def finite(self) -> Tensor:
        """Whether every state of an image is made of finite numbers, bool (n,): an orbit may run away."""
        return self.states.isfinite().flatten(2).all(2).all(0)

    def periods(self, tolerance: float) -> tuple[int | None, ...]:
        """Period of the cycle on which each image ends, 1 for a fixed point; None where it does not return.

        A cycle must have been gone through twice, so that an orbit of k steps shows periods up to (k + 1) / 2.

        Args:
            tolerance: largest Euclidean distance of states that count as one.
        """
        return tuple(_period(self.states[:, row].flatten(1), tolerance) for row in range(self.states.shape[1]))


@torch.no_grad()
def orbit(step: Map, start: Tensor, steps: int) -> Orbit:
    """Apply a map ``steps`` times.

    Raises:
        InputError: no step.
    """
    if steps < 1:
        raise InputError(f"an orbit takes at least one step, got {steps}")
    states = [start]
    for _ in range(steps):
        states.append(step(states[-1]))
    return Orbit(torch.stack(states))


@dataclass(frozen=True, eq=False)
class Dialogue:
    """What two perceivers sent each other.

    Args:
        sent: (r, n, …) for each perceiver, what it sent in each round.
        periods: of each image, after how many rounds both repeat what they sent; None where they do not.
    """

    sent: tuple[Tensor, Tensor]
    periods: tuple[int | None, ...]

    @property
    def settled(self) -> tuple[Tensor, Tensor]:
        """The two images of the last round, (n, …) each."""
        return self.sent[0][-1], self.sent[1][-1]


def dialogue(
    first: Map,
    second: Map,
    start: Tensor,
    *,
    steps: Sequence[int] = (50, 50),
    rounds: int = 20,
    tolerance: float = 1e-3,
) -> Dialogue:
    """Let two perceivers pass images to and fro: each looks for its number of steps and sends what it sees.

    Args:
        first, second: their maps.
        start: (n, …), what the first one observes.
        steps: of each, as published 50.
        rounds: of both.
        tolerance: Euclidean distance below which an image counts as repeated.

    Raises:
        InputError: no step, or no round.
    """
    if rounds < 1:
        raise InputError(f"a dialogue takes at least one round, got {rounds}")
    sent: tuple[list[Tensor], list[Tensor]] = ([], [])
    current = start
    for _ in range(rounds):
        for step, count, said in zip((first, second), steps, sent, strict=True):
            current = orbit(step, current, count).seen
            said.append(current)
    stacked = torch.stack(sent[0]), torch.stack(sent[1])
    together = torch.cat([one.flatten(2) for one in stacked], 2)
    return Dialogue(stacked, Orbit(together).periods(tolerance))


def _period(states: Tensor, tolerance: float) -> int | None:
    """Period of one image's states (k + 1, d): the shortest whose last round repeats the one before it."""
    count = len(states)
    for period in range(1, count // 2 + 1):
        last, before = states[count - period :], states[count - 2 * period : count - period]
        if bool(((last - before).norm(dim=1) <= tolerance).all()):
            return period
    return None
