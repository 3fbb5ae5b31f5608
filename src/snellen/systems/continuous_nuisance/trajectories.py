"""Trajectories: one object under a shift of rising strength, from the same noise and with the same layout.

The first steps of the sampler decide the layout, so sliders act at timesteps up to a gate alone (published: 750 of
1000). Above it nothing differs between strengths and shifts: those steps are made once for each seed, and forked.
Strength 0 is the generator without sliders, once for all shifts. All other strengths share batches, a strength a row.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from snellen.core.errors import InputError
from snellen.core.progress import Progress, Silent
from snellen.models.diffusion.adapters import Adapters
from snellen.models.diffusion.condition import Condition
from snellen.models.diffusion.guidance import ReferenceGuidance, classifier_free
from snellen.models.diffusion.sampler import LatentHook, Sampler, SamplingState, seeded
from snellen.models.diffusion.step_adapters import StepAdapters, TimeGate
from snellen.systems.continuous_nuisance.slider import Slider, sliders_on
from snellen.systems.continuous_nuisance.strengths import checked_strengths

#: Highest timestep of a thousand at which sliders act.
GATE = 750.0


@dataclass(frozen=True, eq=False)
class Trajectories:
    """Images of every shift, object and strength.

    Args:
        images: float32 (shifts, n, strengths, 3, h, w) in [0, 1], on the CPU; those of strength 0 are the same for all
            shifts.
        concepts: names of the shifts.
        prompts: of each of the n objects.
        seeds: of their noise.
        strengths: ascending from 0.
        calls: calls of the denoiser.
        rows: rows of these calls.
    """

    images: Tensor
    concepts: tuple[str, ...]
    prompts: tuple[str, ...]
    seeds: tuple[int, ...]
    strengths: tuple[float, ...]
    calls: int
    rows: int


@dataclass(frozen=True, eq=False)
class _Run:
    """What all runs of one call share."""

    sampler: Sampler
    condition: Condition
    reference: Condition | None
    scale: float
    size: tuple[int, int] | None
    hooks: Sequence[LatentHook]

    def start(self, seeds: Sequence[int]) -> SamplingState:
        return self.sampler.start(seeded(seeds), size=self.size)

    def go(
        self, state: SamplingState, rows: Sequence[int], context: StepAdapters | None = None, until: int | None = None
    ) -> SamplingState:
        """Make steps of some of the n objects."""
        guidance: list[ReferenceGuidance] = []
        if self.reference is not None:
            guidance = [classifier_free(self.scale, self.reference.select(rows))]
        return self.sampler.run(
            state, self.condition.select(rows), guidance=guidance, hooks=self.hooks, context=context, until=until
        )

    def images(self, state: SamplingState) -> Tensor:
        with torch.no_grad():
            decoded = self.sampler.generator.decode(state.latents)
        return (decoded.expand(-1, 3, -1, -1) if decoded.shape[1] == 1 else decoded).cpu()


def sample_trajectories(
    sampler: Sampler,
    sliders: Mapping[str, Slider],
    prompts: Sequence[str],
    seeds: Sequence[int],
    strengths: Sequence[float],
    *,
    gate: float = GATE,
    negative: str | None = None,
    guidance_scale: float = 7.5,
    size: tuple[int, int] | None = None,
    batch_size: int = 16,
    hooks: Sequence[LatentHook] = (),
    progress: Progress | None = None,
) -> Trajectories:
    """Images of n objects, each under every shift at every strength.

    Args:
        sampler: of the generator that the sliders belong to.
        sliders: by the name of their shift.
        prompts: of the n objects.
        seeds: one for each; the same seed gives the same noise at all strengths.
        strengths: ascending from 0.
        gate: highest timestep at which sliders act.
        negative: prompt to guide away from, instead of from no prompt.
        guidance_scale: of classifier-free guidance; 1 means none.
        size: height and width; None is the generator's own.
        batch_size: objects, or images of a strength above 0, at a time. Strength 0 gives bit for bit what
            :func:`snellen.models.diffusion.generate.generate` gives of the same prompts and seeds in batches of this
            size.
        hooks: see the latents of all runs: first those of the shared steps.
        progress: callback that receives progress updates.

    Raises:
        InputError: strengths that are no grid, other numbers of prompts and seeds, no shift, a gate that lets no
            timestep pass, or sliders of another generator.
    """
    grid = checked_strengths(strengths)
    run = _prepared(sampler, prompts, seeds, negative, guidance_scale, size, hooks)
    shared = shared_steps(sampler, gate)
    if batch_size < 1:
        raise InputError(f"batch_size is at least 1; got {batch_size}")
    listener, rising = progress or Silent(), grid[1:]
    found: list[Tensor] = []
    calls = rows = 0
    listener.begin("trajectories", len(prompts) * (1 + len(sliders) * len(rising)))
    with sliders_on(sampler.generator, sliders) as (adapters, names):
        for begin in range(0, len(prompts), batch_size):
            objects = range(begin, min(begin + batch_size, len(prompts)))
            prefix = run.go(run.start([seeds[one_object] for one_object in objects]), objects, until=shared)
            neutral = run.go(prefix, objects)
            calls, rows = calls + neutral.calls, rows + neutral.rows
            listener.advance("trajectories", len(objects))
            # The position of an object in the prefix, its shift and its strength; one shift after the other, because a
            # layer runs every adapter of a batch for all its rows.
            forks = [(place, key, s) for key in sliders for place in range(len(objects)) for s in rising]
            parts: list[Tensor] = []
            for first in range(0, len(forks), batch_size):
                batch = forks[first : first + batch_size]
                state = run.go(
                    prefix.select([place for place, _, _ in batch]),
                    [objects[place] for place, _, _ in batch],
                    _acting(adapters, names, batch, gate),
                )
                calls, rows = calls + state.calls - prefix.calls, rows + state.rows - prefix.rows
                parts.append(run.images(state))
                listener.advance("trajectories", len(batch))
            shifted = torch.cat(parts).unflatten(0, (len(sliders), len(objects), len(rising)))
            first_images = run.images(neutral)[None, :, None].expand(len(sliders), -1, 1, -1, -1, -1)
            found.append(torch.cat([first_images, shifted], 2))
    listener.finish("trajectories")
    return Trajectories(torch.cat(found, 1), tuple(sliders), tuple(prompts), tuple(seeds), grid, calls, rows)


def sampled_alone(
    sampler: Sampler,
    sliders: Mapping[str, Slider],
    prompts: Sequence[str],
    seeds: Sequence[int],
    strengths: Sequence[float],
    *,
    gate: float = GATE,
    negative: str | None = None,
    guidance_scale: float = 7.5,
    size: tuple[int, int] | None = None,
    hooks: Sequence[LatentHook] = (),
) -> Trajectories:
    """The same, each image in a run of its own from noise: what sharing is measured against.

    Arguments and errors as of :func:`sample_trajectories`.
    """
    grid = checked_strengths(strengths)
    run = _prepared(sampler, prompts, seeds, negative, guidance_scale, size, hooks)
    shared_steps(sampler, gate)
    parts: list[Tensor] = []
    calls = rows = 0
    with sliders_on(sampler.generator, sliders) as (adapters, names):
        for key in sliders:
            for one_object in range(len(prompts)):
                for strength in grid:
                    acting = _acting(adapters, names, [(0, key, strength)], gate)
                    state = run.go(run.start([seeds[one_object]]), [one_object], acting)
                    calls, rows = calls + state.calls, rows + state.rows
                    parts.append(run.images(state))
    images = torch.cat(parts).unflatten(0, (len(sliders), len(prompts), len(grid)))
    return Trajectories(images, tuple(sliders), tuple(prompts), tuple(seeds), grid, calls, rows)


def shared_steps(sampler: Sampler, gate: float) -> int:
    """Number of steps above the gate, at which no slider acts.

    Raises:
        InputError: the gate lets no step pass.
    """
    solver = sampler.new_solver()
    above = sum(solver.timestep(step) > gate for step in range(solver.steps))
    if above == solver.steps:
        raise InputError(
            f"sliders act at timesteps up to {gate:g}, and the {solver.steps} steps of the sampler are all above it; "
            f"its last is at {solver.timestep(solver.steps - 1):g}"
        )
    return above


def _prepared(
    sampler: Sampler,
    prompts: Sequence[str],
    seeds: Sequence[int],
    negative: str | None,
    scale: float,
    size: tuple[int, int] | None,
    hooks: Sequence[LatentHook],
) -> _Run:
    generator = sampler.generator
    if len(prompts) != len(seeds) or not len(seeds):
        raise InputError(f"one prompt and one seed belong to each trajectory; got {len(prompts)} and {len(seeds)}")
    condition = generator.encode_prompts(list(prompts), size=size)
    reference = None
    if scale != 1:
        away = [negative] * len(prompts) if negative is not None else None
        reference = (
            generator.null(len(prompts), size=size) if away is None else generator.encode_prompts(away, size=size)
        )
    return _Run(sampler, condition, reference, scale, size, hooks)


def _acting(
    adapters: Adapters, names: Mapping[str, str], batch: Sequence[tuple[int, str, float]], gate: float
) -> StepAdapters:
    """The sliders of a batch, each with its strength for every row: 0 in rows of other sliders."""
    strengths = {
        names[key]: torch.tensor([strength if shift == key else 0.0 for _, shift, strength in batch])
        for key in dict.fromkeys(shift for _, shift, _ in batch)
    }
    return StepAdapters(adapters, strengths, TimeGate(at_most=gate))
