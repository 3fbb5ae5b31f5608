"""The comparison: every family under attack, then teachers and students distilled at several temperatures."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor, nn

from snellen.core.classifier import Classifier
from snellen.core.preprocessing import Preprocessing
from snellen.core.progress import Progress
from snellen.core.randomness import Randomness
from snellen.reproduction.defensive_distillation.attack_figures import (
    Strengths,
    clean_figures,
    fgsm_figures,
    joined,
    masking_figures,
    search_figures,
    transfer_success,
)
from snellen.reproduction.sample import Figure, mean_of
from snellen.training.acceleration import seeded
from snellen.training.batches import ImageStore
from snellen.training.distillation import distil, scale_last_layer
from snellen.training.loop import train
from snellen.training.plan import TrainingPlan
from snellen.training.transforms import BatchTransform

#: Images (n, 3, h, w) in [0, 1] and labels (n,), block by block.
Blocks: TypeAlias = Iterable[tuple[Tensor, Tensor]]


@dataclass(frozen=True, eq=False)
class Setup:
    """One study.

    Attributes:
        families: untrained networks by name: what is attacked.
        student: which of them is the architecture of the student.
        teacher: an untrained teacher.
        examples: the train split.
        images: test images (n, 3, h, w) in [0, 1].
        labels: (n,).
        class_names: k of them.
        temperatures: of the distillations.
        plan: of every training.
        strengths: of every attack.
        transform: of the batches of every training.
        block: images that are attacked at a time; None: all.
        scaled: initial last layers are multiplied by T, as short trainings at a high temperature need it.
    """

    families: Mapping[str, Callable[[], nn.Module]]
    student: str
    teacher: Callable[[], nn.Module]
    examples: ImageStore
    images: Tensor
    labels: Tensor
    class_names: tuple[str, ...]
    temperatures: tuple[float, ...]
    plan: TrainingPlan
    strengths: Strengths
    transform: BatchTransform | None = None
    block: int | None = None
    scaled: bool = True

    @property
    def blocks(self) -> Blocks:
        """The test images and their labels, block by block."""
        size = self.block or len(self.images)
        return list(zip(self.images.split(size), self.labels.split(size), strict=True))


def compared(setup: Setup, rng: Randomness, progress: Progress) -> dict[str, Figure]:
    """All figures of one study, by network; see
    :func:`~snellen.reproduction.defensive_distillation.experiment.attack_comparison`.
    """
    figures = dict[str, Figure]()
    attacked = {name: _trained(setup, name, rng, progress) for name in setup.families}
    for name, classifier in attacked.items():
        measured = under_attack(classifier, setup.blocks, setup.strengths, rng)
        figures |= {f"{name}.{key}": value for key, value in measured.items()}
    undistilled = attacked[setup.student]
    figures |= {
        key.replace(f"{setup.student}.", "undistilled.", 1): value
        for key, value in figures.items()
        if key.startswith(f"{setup.student}.")
    }
    figures |= {f"undistilled.{key}": value for key, value in _masking(setup, undistilled, 1.0).items()}
    for temperature in setup.temperatures:
        teacher, student = _distilled(setup, temperature, rng, progress)
        clean = joined([(len(labels), clean_figures(teacher, images, labels)) for images, labels in setup.blocks])
        figures |= {f"teacher_{temperature:g}.{key}": value for key, value in clean.items()}
        found = under_attack(student, setup.blocks, setup.strengths, rng) | _masking(setup, student, temperature)
        carried = [
            (len(labels), {"transfer_success": transfer_success(
                undistilled, student, images, labels, epsilon=setup.strengths.epsilon
            )})
            for images, labels in setup.blocks
        ]  # fmt: skip
        found |= joined(carried)
        figures |= {f"distilled_{temperature:g}.{key}": value for key, value in found.items()}
    names = list(setup.families)
    return {
        **figures,
        "least.fgsm_error": extreme(min, figures, names, "fgsm_error"),
        "most.noise_error": extreme(max, figures, names, "noise_error"),
        "least.cw_success": extreme(min, figures, names, "cw_success"),
        "cw.steps": float(setup.strengths.cw_steps),
        "cw.searches": float(setup.strengths.cw_searches),
        "cw.confidence": setup.strengths.cw_confidence,
    }


def extreme(
    which: Callable[[list[float]], float], figures: Mapping[str, Figure], names: Sequence[str], figure: str
) -> float | None:
    """The least or the largest of a figure over networks; None where one of them has none."""
    found = [mean_of(figures[f"{name}.{figure}"]) for name in names]
    known = [value for value in found if value is not None]
    return which(known) if len(known) == len(found) else None


def under_attack(classifier: Classifier, blocks: Blocks, strengths: Strengths, rng: Randomness) -> dict[str, Figure]:
    """Clean figures, the curve of FGSM, PGD and CW, over blocks of images and labels."""
    found = list[tuple[int, Mapping[str, Figure]]]()
    for number, (images, labels) in enumerate(blocks):
        drawn = rng.child("block", number) if number else rng
        curve, _ = fgsm_figures(classifier, images, labels, strengths, drawn)
        searched = search_figures(classifier, images, labels, strengths, drawn)
        found.append((len(labels), {**clean_figures(classifier, images, labels), **curve, **searched}))
    return joined(found)


def _masking(setup: Setup, classifier: Classifier, temperature: float) -> dict[str, Figure]:
    epsilon = setup.strengths.epsilon
    return joined([
        (len(labels), masking_figures(classifier, images, labels, temperature=temperature, epsilon=epsilon))
        for images, labels in setup.blocks
    ])  # fmt: skip


def _trained(setup: Setup, name: str, rng: Randomness, progress: Progress) -> Classifier:
    network = _seeded(setup.families[name], rng.child(name))
    plan = setup.plan.model_copy(update={"seed": _training_seed(rng)})
    trained = train(network, setup.examples, plan=plan, transform=setup.transform, progress=progress)
    return _classifier(setup, network, trained.weights, name)


def _distilled(setup: Setup, temperature: float, rng: Randomness, progress: Progress) -> tuple[Classifier, Classifier]:
    """Teacher and student; the student starts from the weights that the undistilled network started from."""
    teacher = _seeded(setup.teacher, rng.child("teacher"))
    student = _seeded(setup.families[setup.student], rng.child(setup.student))
    if setup.scaled:
        teacher, student = scale_last_layer(teacher, temperature), scale_last_layer(student, temperature)
    plan = setup.plan.model_copy(update={"seed": _training_seed(rng)})
    both = distil(
        teacher, student, setup.examples, temperature=temperature, plan=plan, transform=setup.transform,
        progress=progress,
    )  # fmt: skip
    assert both.teacher is not None
    return (
        _classifier(setup, teacher, both.teacher.weights, f"teacher at {temperature:g}"),
        _classifier(setup, student, both.student.weights, f"student at {temperature:g}"),
    )


def _seeded(build: Callable[[], nn.Module], rng: Randomness) -> nn.Module:
    with seeded(rng.generator("initial weights").initial_seed(), torch.device("cpu")):
        return build()


def _training_seed(rng: Randomness) -> int:
    return rng.generator("training").initial_seed() % 2**31


def _classifier(setup: Setup, network: nn.Module, weights: Mapping[str, Tensor], name: str) -> Classifier:
    network.load_state_dict(dict(weights))
    side = setup.images.shape[-1]
    return Classifier(
        network,
        class_names=setup.class_names,
        preparation=Preprocessing(size=(side, side)),
        name=name,
        device=setup.images.device,
    )
