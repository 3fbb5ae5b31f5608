"""The sampler beside the pipelines of diffusers: same network with random weights, noise, prompts, solver and steps."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator, Set
from pathlib import Path

from beside.contest import Contest, Peer
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parents[1]))

from sampling import SCHEDULERS, contenders, pair

from snellen.models.diffusion.smoke import write_smoke_folder

PEERS = {"diffusers": "diffusers"}

IMAGES, STEPS, SCALE = 4, 20, 7.5


def contests(available: Set[str]) -> Iterator[Contest]:
    """One for each solver, with classifier-free guidance."""
    if not available:
        return
    with tempfile.TemporaryDirectory() as made:
        generator, pipe = contenders(write_smoke_folder("stable-diffusion-1.5", Path(made) / "smoke"), "cpu")
        for solver in SCHEDULERS:
            ours, theirs = pair(generator, pipe, solver, SCALE, IMAGES, STEPS)
            what = f"{solver}, {STEPS} steps with guidance, {IMAGES} latents"
            yield Contest(what, ours, {"diffusers": Peer("diffusers", theirs)}, same_latents)


def same_latents(mine: Tensor, theirs: Tensor) -> tuple[bool, str]:
    """Equal up to rounding, in shares of the largest value."""
    most = float((mine - theirs).abs().max() / theirs.abs().max())
    return most <= 1e-3, f"largest difference {most:.0e} of the largest value"
