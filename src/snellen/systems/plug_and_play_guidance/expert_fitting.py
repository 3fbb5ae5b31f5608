"""Fit experts to what a generator makes, keep them as an artifact without the network, and put them on a fresh one."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, Field
from safetensors.torch import load_file, save_file
from torch import Tensor

from snellen.core.artifact import Artifact, Card, Lineage
from snellen.core.classifier import hash_tensors
from snellen.core.errors import InputError
from snellen.core.images import Provenance
from snellen.core.progress import Progress
from snellen.core.randomness import Randomness
from snellen.methods.generation.synthetic_images import SyntheticImages, synthetic_images
from snellen.methods.generation.teachers import Teacher
from snellen.models.diffusion.generator import Generator
from snellen.models.diffusion.low_rank import LowRank
from snellen.systems.plug_and_play_guidance.knowledge_transfer import (
    Loss,
    NoisyImages,
    Reduction,
    Transfer,
    map_error,
    sharpened_divergence,
    taught_examples,
)
from snellen.systems.plug_and_play_guidance.low_rank_experts import (
    LowRankExperts,
    NoiseRanges,
    expected_shapes,
    own_tensors,
    start_from,
    student_of,
)
from snellen.training.environment import record_environment
from snellen.training.loop import train
from snellen.training.plan import TrainingPlan
from snellen.version import __version__

#: Name of the architecture in the card of experts.
NAME = "noise_range_experts"


class TransferFit(BaseModel):
    """Numbers of a transfer.

    The paper's are 5 experts of rank 16, 500,000 images, 60,000 iterations each, batches of 256, learning rate 1e-4.

    >>> TransferFit(experts=4, rank=4, alpha=4).low_rank().rank
    4
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    experts: int = Field(5, ge=1, description="ranges of noise, N")
    rank: int = Field(16, ge=1, description="of the change of each layer, r")
    alpha: float = Field(8.0, gt=0, description="a change is multiplied by alpha / rank, in training and in use")
    temperature: float = Field(0.25, gt=0, description="of the teacher's softmax alone; below 1 sharpens it")
    reduction: Reduction = Field("mean", description="of the divergence over the classes; published: mean")
    warm_start: bool = Field(True, description="each expert begins where the one of less noise ended (published)")
    synthetic: int = Field(2000, ge=2, description="images that the generator makes to fit to")
    synthetic_steps: int = Field(25, ge=1, description="of the sampler that makes them (DDIM)")
    iterations: int = Field(600, ge=1, description="optimizer steps of each expert, rounded up to whole passes")
    batch_size: int = Field(64, ge=2, description="images of one step")
    learning_rate: float = Field(1e-3, gt=0, description="of AdamW at the start of each expert; falls to 0 in a line")
    weight_decay: float = Field(0.05, ge=0, description="of AdamW")

    def low_rank(self) -> LowRank:
        """Rank, alpha and start of the changes."""
        return LowRank(rank=self.rank, alpha=self.alpha)

    def plan(self, count: int, seed: int) -> TrainingPlan:
        """The training of one expert on so many images."""
        batch = min(self.batch_size, count)
        return TrainingPlan(
            epochs=-(-self.iterations // (count // batch)),
            batch_size=batch,
            drop_last=True,
            learning_rate=self.learning_rate,
            weight_decay=self.weight_decay,
            schedule="linear",
            seed=seed,
        )


def fit_experts(
    teacher: Teacher,
    generator: Generator,
    synthetic: SyntheticImages,
    *,
    fit: TransferFit,
    rng: Randomness,
    loss: Loss | None = None,
    checkpoint: Path | None = None,
    answers: Path | None = None,
    progress: Progress | None = None,
) -> Artifact:
    """Fit one expert after the other, from the range of least noise up. No label is read, for there is none.

    Args:
        teacher: stays as it is.
        generator: that will be guided, and that made the images.
        synthetic: the images.
        fit: numbers; ``synthetic`` and ``synthetic_steps`` are recorded as they are.
        rng: of factors, order, timesteps and noise.
        loss: of an expert's answers; by default the divergence for a classifier, the squared error for maps. For a
            segmentation give :func:`~snellen.systems.plug_and_play_guidance.knowledge_transfer.sharpened_divergence`.
        checkpoint: file to save to, and to go on from; each expert has its own beside it.
        answers: file for the teacher's answers, see
            :func:`~snellen.systems.plug_and_play_guidance.knowledge_transfer.taught_examples`.
        progress: callback that receives progress updates.

    Raises:
        InputError: images of another generator; more experts than timesteps; a teacher that cannot be adapted.
    """
    if synthetic.generators != (generator.name,):
        raise InputError(
            f"experts are fitted to images of the generator that they will guide, {generator.name}; these were made by "
            f"{', '.join(synthetic.generators)}"
        )
    ranges = ranges_of(teacher, generator, fit)
    wanted = loss or (sharpened_divergence(fit.temperature, fit.reduction) if teacher.class_names else map_error)
    examples = taught_examples(teacher, generator, synthetic, file=answers, progress=progress)
    found: list[dict[str, Tensor]] = []
    rows: list[dict[str, float]] = []
    for expert in range(fit.experts):
        student = student_of(teacher.network, fit.low_rank(), rng, name=f"expert {expert}")
        if fit.warm_start and found:
            start_from(student, found[-1])
        trained = train(
            student,
            examples,
            plan=fit.plan(len(synthetic), rng.child("expert", expert).generator("training").initial_seed() % 2**31),
            objective=Transfer(NoisyImages(generator, teacher, ranges, expert), wanted),
            checkpoint=None if checkpoint is None else checkpoint.with_stem(f"{checkpoint.stem}-{expert}"),
            recipe={"expert": expert, "bounds": list(ranges.bounds(expert)), **fit.model_dump(mode="json")},
            progress=progress,
        )
        student.load_state_dict(dict(trained.weights))
        found.append({name: tensor.cpu() for name, tensor in own_tensors(student).items()})
        rows += [{"expert": float(expert), **{key: round(value, 6) for key, value in trained.history[-1].items()}}]
    card = Card(
        name=f"experts of {teacher.name} for {generator.name}",
        kind="adapter",
        architecture={
            "name": NAME,
            "ranges": [list(ranges.bounds(expert)) for expert in range(fit.experts)],
            "timesteps": ranges.timesteps,
            "rank": fit.rank,
            "alpha": fit.alpha,
            "teacher": teacher.name,
            "teacher_weights": teacher.identity(),
            "generator": generator.name,
            "generator_weights": generator_identity(generator),
        },
        description="What each expert has for itself: low-rank factors, biases, BatchNorm. The teacher is not in here.",
        class_names=teacher.class_names,
        metrics={f"expert_{int(row['expert'])}.loss": row["train.loss"] for row in rows},
        history=tuple(rows),
        lineage=Lineage(
            recipe={"method": "plug_and_play_guidance", **fit.model_dump(mode="json"), "synthetic": len(synthetic)},
            data=examples.fingerprint(),
            seed=rng.seed,
            code_version=__version__,
            parent=teacher.identity(),
            environment=record_environment(teacher.device),
        ),
    )
    return Artifact({f"{expert}.{name}": part for expert, own in enumerate(found) for name, part in own.items()}, card)


def ranges_of(teacher: Teacher, generator: Generator, fit: TransferFit) -> NoiseRanges:
    """The ranges of a fit, once it is known that it can be made: before images are drawn, which takes its time.

    Raises:
        InputError: more experts than timesteps; a teacher that cannot be adapted.
    """
    expected_shapes(teacher.network, fit.rank)
    return NoiseRanges(fit.experts, len(generator.denoiser.alphas_cumprod))


def experts_of(artifact: Artifact, teacher: Teacher, generator: Generator) -> LowRankExperts:
    """The experts of an artifact on a fresh teacher, for the generator that they were fitted for.

    Raises:
        InputError: another kind of artifact; another teacher, classes, generator or schedule; a range without expert.
    """
    card, built = artifact.card, artifact.card.architecture
    if card.kind != "adapter" or built.get("name") != NAME:
        raise InputError(f"{card.name!r} is a {card.kind} ({built.get('name')}); expected experts for ranges of noise")
    if card.class_names != teacher.class_names:
        raise InputError(
            f"{card.name!r} knows {len(card.class_names)} classes ({', '.join(card.class_names[:4])}, …) and "
            f"{teacher.name} {len(teacher.class_names)} ({', '.join(teacher.class_names[:4])}, …)"
        )
    for what, was, now, name in (
        ("teacher", built["teacher_weights"], teacher.identity(), teacher.name),
        ("generator", built["generator_weights"], generator_identity(generator), generator.name),
    ):
        if was != now:
            raise InputError(
                f"{card.name!r} was fitted with the {what} {built[what]} ({was[:12]}…); {name} has other weights or "
                f"another noise schedule ({now[:12]}…): name that {what}, or fit experts anew in another folder"
            )
    ranges = NoiseRanges(len(built["ranges"]), int(built["timesteps"]))
    own = tuple(_part(artifact.tensors, expert, teacher) for expert in range(ranges.experts))
    settings = LowRank(rank=int(built["rank"]), alpha=float(built["alpha"]))
    return LowRankExperts(teacher.network, ranges, own, settings)


def generator_identity(generator: Generator) -> str:
    """Hash of what experts depend on: the weights of denoiser and autoencoder, and the noise schedule."""
    parts = {"schedule": generator.denoiser.alphas_cumprod}
    for name, module in generator.modules().items():
        if name in ("denoiser", "vae"):
            parts |= {f"{name}.{key}": tensor for key, tensor in module.state_dict().items()}
    return hash_tensors(parts)


def _part(tensors: Mapping[str, Tensor], expert: int, teacher: Teacher) -> dict[str, Tensor]:
    prefix = f"{expert}."
    found = {
        name.removeprefix(prefix): part.to(teacher.device) for name, part in tensors.items() if name.startswith(prefix)
    }
    if not found:
        raise InputError(f"the file has no tensors of expert {expert}, so its range of noise has no expert")
    return found


def recorded_fit(artifact: Artifact) -> dict[str, Any]:
    """The numbers that experts were fitted with, as :class:`TransferFit` names them."""
    return {name: value for name, value in artifact.card.lineage.recipe.items() if name in TransferFit.model_fields}


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
        fit: numbers of a new fit; experts that are there must have been fitted with them. None: the defaults, or those
            of the experts that are there.
        progress: callback that receives progress updates.

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
