"""Whether strength 0, the gate and shared steps change what they must not, and what sharing saves."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from snellen.models.diffusion.generate import generate
from snellen.models.diffusion.sampler import LatentHook, Moment, Sampler
from snellen.reproduction.continuous_nuisance.scales import Budget
from snellen.systems.continuous_nuisance.slider import Slider
from snellen.systems.continuous_nuisance.trajectories import GATE, Trajectories, sampled_alone


class Watch(LatentHook):
    """Keeps the latents of each run before every step, and their timesteps."""

    def __init__(self) -> None:
        self.runs: list[list[tuple[float, Tensor]]] = []

    def before(self, moment: Moment) -> None:
        """Note the latents."""
        if moment.first:
            self.runs.append([])
        self.runs[-1].append((moment.timestep, moment.latents.clone()))


def exactness(
    sampler: Sampler, sliders: Mapping[str, Slider], made: Trajectories, budget: Budget, together: int
) -> dict[str, float]:
    """Largest differences, and shares of rows and calls.

    Args:
        sampler: of the generator, which carries no slider now.
        sliders: by shift.
        made: the trajectories that were sampled together.
        budget: how they were made.
        together: their batch size.
    """
    plain = generate(
        sampler, made.seeds, prompts=made.prompts, guidance_scale=budget.guidance_scale, batch_size=together
    )
    neutral = max(float((found[:, 0] - plain.images).abs().max()) for found in made.images)
    some, ends, watch = budget.alone, [0, len(made.strengths) - 1], Watch()
    alone = sampled_alone(
        sampler, sliders, made.prompts[:some], made.seeds[:some], [made.strengths[end] for end in ends],
        guidance_scale=budget.guidance_scale, hooks=[watch],
    )  # fmt: skip
    pairs = [(watch.runs[first], watch.runs[first + 1]) for first in range(0, len(watch.runs), 2)]
    apart = [
        (timestep, float((one - other).abs().max()))
        for first, second in pairs
        for (timestep, one), (_, other) in zip(first, second, strict=True)
    ]
    # The latents before the first step at which a slider acts are not changed by it either.
    closed = [difference for timestep, difference in apart if timestep > GATE]
    images = made.images.shape[:3].numel()
    each = alone.images.shape[:3].numel()
    return {
        "neutral.difference": neutral,
        "gate.difference": max(closed),
        "gate.opened": max(difference for timestep, difference in apart if timestep <= GATE),
        "alone.difference": float((alone.images - made.images[:, :some][:, :, ends]).abs().max()),
        "cost.rows": made.rows / images / (alone.rows / each),
        "cost.calls": made.calls / images / (alone.calls / each),
    }
