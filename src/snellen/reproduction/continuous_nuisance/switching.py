"""Switching the prompt as the baseline of a slider: one level of a nuisance, and another picture."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from snellen.data.worlds.optotypes.small_world import SHAPES
from snellen.models.classifiers.factor_judge import FactorJudge
from snellen.models.diffusion.generate import generate
from snellen.models.diffusion.sampler import Sampler
from snellen.reproduction.continuous_nuisance.oracle import Reading, read
from snellen.reproduction.continuous_nuisance.scales import SHIFTS, Budget
from snellen.reproduction.sample import Figure, Sample
from snellen.systems.continuous_nuisance.trajectories import Trajectories
from snellen.systems.continuous_nuisance.words import shifted_prompt


def switched(
    sampler: Sampler,
    judge: FactorJudge,
    made: Trajectories,
    readings: Mapping[str, Reading],
    budget: Budget,
    together: int,
) -> dict[str, Figure]:
    """How far objects move, and pixels change, from strength 0 on: by another prompt, and by a slider.

    Each is compared at the strength whose reading of the nuisance is nearest to that of the switched prompt, where the
    judge sees the class in all three images.

    Returns:
        ``switch.moved`` and ``slider.moved`` in half sides, ``switch.pixels`` and ``slider.pixels`` mean absolute
        differences, of each compared image, or None without any; ``switch.compared`` images.
    """
    moved: dict[str, list[float]] = {"switch": [], "slider": []}
    pixels: dict[str, list[float]] = {"switch": [], "slider": []}
    classes = [str(shape) for shape in SHAPES] * (len(made.prompts) // len(SHAPES))
    for row, name in enumerate(made.concepts):
        prompts = [shifted_prompt(prompt, SHIFTS[name].words) for prompt in made.prompts]
        found = generate(
            sampler, made.seeds, prompts=prompts, guidance_scale=budget.guidance_scale, batch_size=together
        ).images
        other, ours = read(judge, found[:, None], SHIFTS[name], classes), readings[name]
        for thing in range(len(found)):
            nearest = 1 + int(np.abs(ours.nuisance[thing, 1:] - other.nuisance[thing, 0]).argmin())
            if not (other.right[thing, 0] and ours.right[thing, 0] and ours.right[thing, nearest]):
                continue
            first, start = made.images[row, thing, 0], ours.places[thing, 0]
            moved["switch"].append(float(np.linalg.norm(other.places[thing, 0] - start)))
            moved["slider"].append(float(np.linalg.norm(ours.places[thing, nearest] - start)))
            pixels["switch"].append(float((found[thing] - first).abs().mean()))
            pixels["slider"].append(float((made.images[row, thing, nearest] - first).abs().mean()))
    return {
        "switch.compared": float(len(moved["switch"])),
        **{f"{way}.moved": Sample.of(values) if values else None for way, values in moved.items()},
        **{f"{way}.pixels": Sample.of(values) if values else None for way, values in pixels.items()},
    }
