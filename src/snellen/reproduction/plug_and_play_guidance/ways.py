"""Ways of reading what a generator is pushed along, fitted where they must be, the same at every scale."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from snellen.core.progress import Progress
from snellen.core.randomness import Randomness
from snellen.methods.generation.classifier_scores import Reading, by_experts, off_the_shelf, on_the_estimate
from snellen.methods.generation.synthetic_images import SyntheticImages
from snellen.methods.generation.teachers import Teacher
from snellen.models.diffusion.generator import Generator
from snellen.systems.plug_and_play_guidance.expert_fitting import TransferFit, experts_of, fit_experts
from snellen.systems.plug_and_play_guidance.supervised_experts import fit_supervised
from snellen.training.batches import Examples
from snellen.training.transforms import BatchTransform, random_shifts

#: Ways that can be fitted; an experiment chooses among them.
EVERY = ("off_the_shelf", "estimate", "noise_held", "noise_aware", "supervised", "experts", "one_expert")


def fitted_ways(
    teacher: Teacher,
    generator: Generator,
    ways: Sequence[str],
    fit: TransferFit,
    drawn: SyntheticImages,
    labelled: Callable[[], Examples],
    rng: Randomness,
    progress: Progress,
    *,
    transform: BatchTransform | None = None,
    folder: Path | None = None,
) -> dict[str, Reading]:
    """A reading for each way.

    Args:
        teacher: the classifier of clean images.
        generator: that is guided.
        ways: of :data:`EVERY`.
        fit: of the experts without labels; the other fits take as many iterations in all.
        drawn: images that the generator made.
        labelled: gives labelled training images, for the ways with labels.
        rng: of all fits.
        progress: callback that receives progress updates.
        transform: of labelled images; by default shifts by up to two pixels.
        folder: where trainings and the teacher's answers are kept, so that a stopped call resumes.
    """
    one = fit.model_copy(update={"experts": 1, "iterations": fit.experts * fit.iterations})

    def kept(name: str) -> Path | None:
        return None if folder is None else folder / name

    def unlabelled(name: str, numbers: TransferFit) -> Reading:
        artifact = fit_experts(
            teacher,
            generator,
            drawn,
            fit=numbers,
            rng=rng.child("experts"),
            checkpoint=kept(f"{name}.safetensors"),
            answers=kept("answers.bytes"),
            progress=progress,
        )
        return by_experts(teacher, experts_of(artifact, teacher, generator))

    def with_labels(name: str, numbers: TransferFit) -> Reading:
        experts = fit_supervised(
            teacher,
            generator,
            labelled(),
            fit=numbers,
            rng=rng.child("labelled"),
            transform=transform or random_shifts(2),
            checkpoint=kept(f"{name}.safetensors"),
            progress=progress,
        )
        return by_experts(teacher, experts)

    made: dict[str, Callable[[], Reading]] = {
        "off_the_shelf": lambda: off_the_shelf(teacher),
        "estimate": lambda: on_the_estimate(teacher, through=False),
        # The formula of the paper's baseline; both embedded generators predict velocities, which it does not hold.
        "noise_held": lambda: on_the_estimate(teacher, through=False, held="epsilon"),
        "experts": lambda: unlabelled("experts", fit),
        "one_expert": lambda: unlabelled("one_expert", one),
        "noise_aware": lambda: with_labels("noise_aware", one),
        "supervised": lambda: with_labels("supervised", fit),
    }
    return {way: made[way]() for way in ways}
