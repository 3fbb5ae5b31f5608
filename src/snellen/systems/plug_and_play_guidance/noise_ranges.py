"""Ranges of noise: which expert answers at which timestep. One rule, in training and in sampling.

H. Go et al., *Towards Practical Plug-and-Play Diffusion Models*, CVPR 2023, arXiv 2212.05973, section 4.1: the T
timesteps are split into N ranges of equal length, each with an expert of its own. Ranges are half open, so that every
timestep belongs to one expert: expert n covers ⌊nT/N⌋ to ⌊(n + 1)T/N⌋, the upper end left out.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from snellen.core.errors import InputError
from snellen.core.randomness import Randomness


@dataclass(frozen=True)
class NoiseRanges:
    """N half-open ranges of T timesteps; 0 is next to the image, T − 1 next to pure noise.

    >>> ranges = NoiseRanges(5, 1000)
    >>> ranges.bounds(1), ranges.expert_of(torch.tensor([199, 200, 999])).tolist()
    ((200, 400), [0, 1, 4])

    Args:
        experts: N.
        timesteps: T, of the training schedule.

    Raises:
        InputError: N below 1 or above T.
    """

    experts: int
    timesteps: int

    def __post_init__(self) -> None:
        if not 1 <= self.experts <= self.timesteps:
            raise InputError(
                f"there are 1 to {self.timesteps} experts for a schedule of {self.timesteps} timesteps, so that each "
                f"has at least one; got {self.experts}"
            )

    def bounds(self, expert: int) -> tuple[int, int]:
        """The first timestep of an expert, and the first one behind it."""
        if not 0 <= expert < self.experts:
            raise InputError(f"experts are numbered 0 to {self.experts - 1}; got {expert}")
        return expert * self.timesteps // self.experts, (expert + 1) * self.timesteps // self.experts

    def expert_of(self, timesteps: Tensor) -> Tensor:
        """The expert of each timestep, int64 like ``timesteps`` (n,), which may lie between two whole ones.

        Raises:
            InputError: timesteps outside [0, T).
        """
        if len(timesteps) and not 0 <= float(timesteps.min()) <= float(timesteps.max()) < self.timesteps:
            raise InputError(f"timesteps lie in [0, {self.timesteps}); got {timesteps.tolist()[:8]}")
        starts = [self.bounds(expert)[0] for expert in range(1, self.experts)]
        edges = torch.tensor(starts, dtype=torch.float64, device=timesteps.device)
        return torch.bucketize(timesteps.double(), edges, right=True)

    def routed(self, answer: Callable[[int, Tensor], Tensor], images: Tensor, timesteps: Tensor) -> Tensor:
        """Answers for images (n, ...) at timesteps (n,), each by the expert of its own.

        Items are grouped by expert: an answer does not depend on what else is in the batch.

        Args:
            answer: (expert, images (m, ...)) → answers (m, ...).
            images: (n, ...).
            timesteps: (n,), in [0, T).

        Raises:
            InputError: another number of timesteps than of images, or timesteps outside [0, T).
        """
        if timesteps.shape != images.shape[:1]:
            raise InputError(f"{len(images)} images came with timesteps {tuple(timesteps.shape)}; give one for each")
        experts = self.expert_of(timesteps).to(images.device)
        present = experts.unique().tolist()
        if len(present) == 1:
            return answer(present[0], images)
        rows = [(experts == expert).nonzero().flatten() for expert in present]
        answers = torch.cat([answer(expert, images[chosen]) for expert, chosen in zip(present, rows, strict=True)])
        return answers[torch.cat(rows).argsort()]

    def draw(self, expert: int, rng: Randomness, *, like: Tensor) -> Tensor:
        """A timestep for each example, evenly from the range of an expert: int64 (n,)."""
        return rng.integers("timestep", (), *self.bounds(expert), like=like)
