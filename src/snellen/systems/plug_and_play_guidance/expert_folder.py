"""Experts in a folder: read from it, or fitted and written there; a fit that was stopped goes on."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from snellen.core.artifact import Artifact
from snellen.core.errors import InputError
from snellen.core.images import Provenance
from snellen.core.progress import Progress
from snellen.core.randomness import Randomness
from snellen.methods.generation.synthetic_images import SyntheticImages, synthetic_images
from snellen.methods.generation.teachers import Teacher
from snellen.models.diffusion.generator import Generator
from snellen.systems.plug_and_play_guidance.expert_fitting import (
    TransferFit,
    experts_of,
    fit_experts,
    generator_identity,
    ranges_of,
    recorded_fit,
)
from snellen.systems.plug_and_play_guidance.low_rank_experts import LowRankExperts


def experts_in(
    folder: Path,
    teacher: Teacher,
    generator: Generator,
    *,
    fit: TransferFit | None = None,
    progress: Progress | None = None,
) -> LowRankExperts:
    """Load experts from a folder, or fit them with seed 0 and write them there if there is no such folder.

    Args:
        folder: of the artifact. Beside it, ``NAME.unfinished`` holds what a fit needs to go on, until all is done.
        teacher: that they are experts of.
        generator: that they guide.
        fit: numbers of a new fit; experts that are there must have been fitted with them. None: the defaults, or
            whatever those that are there were fitted with.
        progress: hears of images and of every step.

    Raises:
        InputError: a folder with something else, with other experts than these, or that were fitted otherwise.
    """
    if not folder.exists():
        fitted(folder, teacher, generator, fit or TransferFit(), progress)
    artifact = Artifact.load(folder)
    was, wanted = recorded_fit(artifact), {} if fit is None else fit.model_dump(mode="json")
    differs = [f"{name} {was.get(name)}, not {value}" for name, value in wanted.items() if was.get(name) != value]
    if differs:
        raise InputError(
            f"{folder} was fitted with {', '.join(differs)}; take the numbers away to use it, or name another folder"
        )
    return experts_of(artifact, teacher, generator)


def fitted(
    folder: Path, teacher: Teacher, generator: Generator, fit: TransferFit, progress: Progress | None = None
) -> Artifact:
    """Draw images, fit experts to them, and write them to a folder.

    Raises:
        InputError: more experts than timesteps; a teacher that cannot be adapted.
    """
    ranges_of(teacher, generator, fit)
    beside = folder.with_name(f"{folder.name}.unfinished")
    beside.mkdir(parents=True, exist_ok=True)
    rng = Randomness(0)
    images = _images(beside, generator, fit, rng, progress)
    artifact = fit_experts(
        teacher,
        generator,
        images,
        fit=fit,
        rng=rng,
        checkpoint=beside / "training.safetensors",
        progress=progress,
    )
    # Written beside and then moved: a folder that is there holds all of it.
    saved = artifact.save(beside / "experts")
    (beside / "experts").rename(folder)
    shutil.rmtree(beside)
    return saved


def _images(
    beside: Path, generator: Generator, fit: TransferFit, rng: Randomness, progress: Progress | None
) -> SyntheticImages:
    """Synthetic images, kept on disk until the fit is done: they may cost more than it does."""
    told = f"{generator_identity(generator)} {fit.synthetic} {fit.synthetic_steps}"
    path = beside / f"images-{hashlib.sha256(told.encode()).hexdigest()[:16]}.safetensors"
    if path.is_file():
        kept = load_file(path)
        origins = [
            Provenance(origin="generated", generator=generator.name, seed=seed, guidance_scale=1.0)
            for seed in kept["seeds"].tolist()
        ]
        return SyntheticImages(kept["images"], tuple(origins))
    drawn = synthetic_images(generator, fit.synthetic, steps=fit.synthetic_steps, rng=rng, progress=progress)
    seeds = [origin.seed for origin in drawn.provenance]
    part = path.with_suffix(".part")
    save_file({"images": drawn.images, "seeds": torch.tensor(seeds)}, part)
    part.replace(path)
    return drawn
