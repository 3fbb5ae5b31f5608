"""Where a run of the sampler stands: latents, the number of the next step, and the solver's memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from snellen.core.errors import InputError
from snellen.core.randomness import Randomness
from snellen.models.diffusion.solver import Solver


@dataclass(frozen=True, eq=False)
class SamplingState:
    """A run that can be continued, several times and with different settings: nothing changes it.

    Args:
        stored: latents of the solver's scale, float32 (n, c, h, w); see :attr:`latents`.
        index: number of the next step.
        solver: with the memory of earlier steps.
        rng: bound to the samples.
        calls: calls of networks so far.
        rows: rows of these calls.
    """

    stored: Tensor
    index: int
    solver: Solver
    rng: Randomness
    calls: int = 0
    rows: int = 0

    def __len__(self) -> int:
        return len(self.stored)

    @property
    def latents(self) -> Tensor:
        """Latents of the network's scale, alpha x0 + sigma eps with alpha² + sigma² = 1; at the end the image's."""
        return self.solver.copy().external(self.stored, self.index)

    @property
    def finished(self) -> bool:
        """Whether no step is left."""
        return self.index == self.solver.steps

    def with_latents(self, latents: Tensor) -> SamplingState:
        """The same state with other latents (n, c, h, w), of the network's scale.

        Raises:
            InputError: latents of another shape.
        """
        if latents.shape != self.stored.shape:
            raise InputError(f"latents of shape {tuple(latents.shape)} cannot replace {tuple(self.stored.shape)}")
        return replace(self, stored=self.solver.internal(latents.to(self.stored), self.index))

    def select(self, rows: Sequence[int] | Tensor) -> SamplingState:
        """The state of some samples, in this order; ``[0, 0, 0, 1, 1, 1]`` forks two samples into three each.

        A repeated sample keeps its draws: its copies get the same noise in every step.
        """
        chosen = torch.as_tensor(rows, dtype=torch.int64)
        return replace(
            self,
            stored=self.stored[chosen.to(self.stored.device)],
            solver=self.solver.select(chosen),
            rng=self.rng[chosen],
        )
