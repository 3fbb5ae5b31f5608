"""How large is a region of failing latents: growth along random directions, and the prior's mass in it.

SAGE (Liu et al., ICLR 2024, supplement B.3) grows a region around a found latent as PoseExaminer does. Its estimator
was not published; this is ours. On the sphere of radius ‖z‖ around 0, where the prior lives, the latent is turned by an
angle towards random directions that are orthogonal to it, until it no longer fails. The extent in a direction is that
angle, between the last failing and the first other step. Normalised size: mean extent over the angle between two draws
of the prior, π/2, with its standard error over directions. Mass: share of fresh draws of N(0, I) that fail as well,
wherever they lie, and of those within the mean extent of the found latent, both by Monte Carlo with the standard error
of a share.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor

from snellen.core.errors import InputError
from snellen.core.randomness import Randomness

#: Latents (n, …) → whether each fails, bool (n,); None of one whose image is not finite is False.
Fails = Callable[[Tensor], Tensor]


class Region(BaseModel):
    """The region around one latent.

    Attributes:
        extent: mean angle, radians. extent_error: its standard error over directions.
        size: extent over π/2. directions: that were tried. bounded: of these, directions in which it ended.
        mass: share of fresh draws of the prior that fail. mass_error: its standard error.
        near: share of fresh draws within ``extent`` of the latent. near_error: its standard error.
        draws: of the prior.
        calls: latents that were judged.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    extent: float
    extent_error: float
    size: float
    directions: int
    bounded: int
    mass: float
    mass_error: float
    near: float
    near_error: float
    draws: int
    calls: int


def grow(
    latent: Tensor, fails: Fails, rng: Randomness, *, directions: int = 16, steps: int = 8, draws: int = 64
) -> Region:
    """Grow a region around a latent that fails.

    Args:
        latent: of any shape.
        fails: judges latents.
        rng: not bound.
        directions: random ones. steps: angles up to a right one, evenly spread. draws: of the prior.

    Raises:
        InputError: fewer than two directions, no step or draw, or a latent that does not fail.
    """
    if directions < 2 or steps < 1 or draws < 1:
        raise InputError(f"a region needs 2 directions, a step and a draw; got {directions}, {steps} and {draws}")
    if not bool(fails(latent[None]).all()):
        raise InputError("the latent itself does not fail, so there is no region around it")
    generator = rng.generator("directions")
    around = torch.randn(directions, *latent.shape, generator=generator).to(latent)
    flat, unit = around.flatten(1), (latent / latent.norm()).flatten()
    flat = flat - (flat @ unit)[:, None] * unit
    flat = flat / flat.norm(dim=1, keepdim=True)
    angles = [math.pi / 2 * step / steps for step in range(1, steps + 1)]
    reached, calls, inside = torch.zeros(directions), 1, list(range(directions))
    for number, angle in enumerate(angles):
        if not inside:
            break
        turned = float(latent.norm()) * (math.cos(angle) * unit + math.sin(angle) * flat[inside])
        still = fails(turned.view(-1, *latent.shape)).cpu()
        calls += len(inside)
        middle = (angle + (angles[number - 1] if number else 0.0)) / 2
        for row, holds in zip(inside, still.tolist(), strict=True):
            reached[row] = angle if holds else middle
        inside = [row for row, holds in zip(inside, still.tolist(), strict=True) if holds]
    extent = float(reached.mean())
    fresh = rng.for_examples([str(row) for row in range(draws)]).normal("mass", latent.shape, like=latent)
    failing = fails(fresh).cpu()
    angle_of = torch.arccos(torch.nn.functional.cosine_similarity(fresh.flatten(1), unit[None]).clamp(-1, 1)).cpu()
    mass, near = float(failing.float().mean()), float((failing & (angle_of <= extent)).float().mean())
    return Region(
        extent=extent,
        extent_error=float(reached.std()) / math.sqrt(directions),
        size=extent / (math.pi / 2),
        directions=directions,
        bounded=directions - len(inside),
        mass=mass,
        mass_error=share_error(mass, draws),
        near=near,
        near_error=share_error(near, draws),
        draws=draws,
        calls=calls + draws,
    )


def share_error(share: float, count: int) -> float:
    """Standard error of a share, of one more success and failure than were counted, so that 0 and 1 have one too.

    >>> round(share_error(0.5, 100), 3), share_error(0.0, 10) > 0
    (0.05, True)
    """
    moved = (share * count + 1) / (count + 2)
    return math.sqrt(moved * (1 - moved) / (count + 2))
