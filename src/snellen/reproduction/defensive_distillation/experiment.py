"""System 10: a one-step attack beside an optimisation attack on three families, and what distillation does to both.

Every network is attacked by FGSM over a range of strengths, PGD and CW. Then a teacher and a student are distilled at
several temperatures, and each student is attacked as before, through logits / T, through the margin, and with images
made on an undistilled network of its architecture: what resists only the plain attack has masked its gradients.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from snellen.core.classifier import Classifier
from snellen.core.errors import InputError, import_extra
from snellen.core.images import Split
from snellen.core.preprocessing import Preprocessing, to_unit
from snellen.core.progress import Progress
from snellen.core.randomness import Randomness
from snellen.core.system import Scale
from snellen.data.worlds.optotypes.scenes import Scenes
from snellen.reproduction.defensive_distillation.attack_figures import (
    Strengths,
    clean_figures,
    fgsm_figures,
    masking_figures,
    search_figures,
    transfer_success,
)
from snellen.reproduction.sample import Figure, mean_of
from snellen.reproduction.shared.small_networks import FAMILIES, small_network
from snellen.training.acceleration import seeded
from snellen.training.batches import ImageStore
from snellen.training.distillation import distil, scale_last_layer
from snellen.training.loop import train
from snellen.training.plan import TrainingPlan

#: Large shapes, tilted or not, on all grounds: learnt to some 90 % within seconds.
WORLD = Scenes(size=32, sizes=("large",), captions=False)
#: Images to train on and to test on.
SMALL_SIZES = (3000, 200)
SMALL_PLAN = TrainingPlan(
    epochs=5, batch_size=64, drop_last=True, learning_rate=4e-3, schedule="one-cycle", warmup_steps=60
)
SMALL_TEMPERATURES = (1.0, 10.0, 40.0, 100.0)
SMOKE_STRENGTHS = Strengths(epsilons=(0.0, 0.05), steps=2, cw_steps=2, cw_searches=2, cw_images=2)
SMOKE_PLAN = TrainingPlan(epochs=2, batch_size=4, optimizer="sgd", learning_rate=1e-6)


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


def attack_comparison(scale: Scale, seed: int, progress: Progress) -> Mapping[str, Figure]:
    """Measure the claims of system 10.

    Returns:
        For each family, for ``undistilled`` (the family of the student again) and for each ``distilled_T``: clean
        accuracy, error under FGSM by strength, success of FGSM, PGD and CW, median distances, what survives as bytes;
        for the last two also the share of exactly zero gradients, FGSM through logits / T and through the margin, and
        for students ``transfer_success``; ``teacher_T.clean_accuracy``; and the least, or the most, of the families. A
        success has a value for each image that was right.

    Raises:
        InputError: the scale is full.
    """
    setup = _setup(scale, seed)
    rng, figures = Randomness(seed), dict[str, Figure]()
    attacked = {name: _trained(setup, name, rng, progress) for name in setup.families}
    for name, classifier in attacked.items():
        figures |= {f"{name}.{key}": value for key, value in _under_attack(setup, classifier, rng).items()}
    undistilled = attacked[setup.student]
    figures |= {
        key.replace(f"{setup.student}.", "undistilled.", 1): value
        for key, value in figures.items()
        if key.startswith(f"{setup.student}.")
    }
    figures |= {f"undistilled.{key}": value for key, value in _masking(setup, undistilled, 1.0).items()}
    for temperature in setup.temperatures:
        teacher, student = _distilled(setup, temperature, rng, progress)
        clean = clean_figures(teacher, setup.images, setup.labels)
        figures |= {f"teacher_{temperature:g}.{key}": value for key, value in clean.items()}
        found = _under_attack(setup, student, rng) | _masking(setup, student, temperature)
        found["transfer_success"] = transfer_success(
            undistilled, student, setup.images, setup.labels, epsilon=setup.strengths.epsilon
        )
        figures |= {f"distilled_{temperature:g}.{key}": value for key, value in found.items()}
    names = list(setup.families)
    return {
        **figures,
        "least.fgsm_error": _extreme(min, figures, names, "fgsm_error"),
        "most.noise_error": _extreme(max, figures, names, "noise_error"),
        "least.cw_success": _extreme(min, figures, names, "cw_success"),
        "cw.steps": float(setup.strengths.cw_steps),
        "cw.searches": float(setup.strengths.cw_searches),
        "cw.confidence": setup.strengths.cw_confidence,
    }


attack_comparison.stand_ins = {  # type: ignore[attr-defined]
    "smoke": (
        "random images; networks of the real classes (ResNeXt-50 32x4d, DenseNet-201, VGG-19, ResNet-101) with random "
        "weights, two optimizer steps",
    ),
    "small": (
        "scenes with one of ten shapes at 32 pixels (3,000 to train on, 200 to test on) for Tiny-ImageNet and CIFAR-10",
        "networks of about 100,000 weights that keep the idea of each family for ResNeXt-50, DenseNet-201 and VGG-19",
        "a deeper plain network for the teacher ResNet-101; initial last layers are multiplied by T for 5 epochs",
        "CW with 200 iterations and 6 searches on 40 images",
    ),
}


def _extreme(
    which: Callable[[list[float]], float], figures: Mapping[str, Figure], names: Sequence[str], figure: str
) -> float | None:
    """The least or the largest of a figure over networks; None where one of them has none."""
    found = [mean_of(figures[f"{name}.{figure}"]) for name in names]
    known = [value for value in found if value is not None]
    return which(known) if len(known) == len(found) else None


def _under_attack(setup: Setup, classifier: Classifier, rng: Randomness) -> dict[str, Figure]:
    images, labels, strengths = setup.images, setup.labels, setup.strengths
    curve, _ = fgsm_figures(classifier, images, labels, strengths, rng)
    return {
        **clean_figures(classifier, images, labels),
        **curve,
        **search_figures(classifier, images, labels, strengths, rng),
    }


def _masking(setup: Setup, classifier: Classifier, temperature: float) -> dict[str, Figure]:
    return masking_figures(
        classifier, setup.images, setup.labels, temperature=temperature, epsilon=setup.strengths.epsilon
    )


def _trained(setup: Setup, name: str, rng: Randomness, progress: Progress) -> Classifier:
    network = _seeded(setup.families[name], rng.child(name))
    plan = setup.plan.model_copy(update={"seed": _training_seed(rng)})
    trained = train(network, setup.examples, plan=plan, progress=progress)
    return _classifier(setup, network, trained.weights, name)


def _distilled(setup: Setup, temperature: float, rng: Randomness, progress: Progress) -> tuple[Classifier, Classifier]:
    """Teacher and student; the student starts from the weights that the undistilled network started from."""
    teacher = scale_last_layer(_seeded(setup.teacher, rng.child("teacher")), temperature)
    student = scale_last_layer(_seeded(setup.families[setup.student], rng.child(setup.student)), temperature)
    plan = setup.plan.model_copy(update={"seed": _training_seed(rng)})
    both = distil(teacher, student, setup.examples, temperature=temperature, plan=plan, progress=progress)
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
    return Classifier(network, class_names=setup.class_names, preparation=Preprocessing(size=(side, side)), name=name)


def _setup(scale: Scale, seed: int) -> Setup:
    if scale == "small":
        return _scenes(seed)
    if scale == "smoke":
        return _random_images(seed)
    raise InputError(
        "system 10 has no full experiment: it needs Tiny-ImageNet and CIFAR-10 with trained networks; choose small"
    )


def _scenes(seed: int) -> Setup:
    world = WORLD.model_copy(update={"seed": seed})

    def store(split: Split, count: int) -> ImageStore:
        images = world.model_copy(update={"count": count}).images(split=split)
        pixels = torch.stack([torch.from_numpy(np.array(images.read(row))) for row in range(count)]).permute(0, 3, 1, 2)
        return ImageStore.of_tensors(pixels, torch.from_numpy(images.labels), ids=images.ids, split=split)

    examples, test = store("train", SMALL_SIZES[0]), store("test", SMALL_SIZES[1])
    classes = len(world.shapes)

    def build(family: str) -> Callable[[], nn.Module]:
        return lambda: small_network(family, classes)

    return Setup(
        families={family: build(family) for family in FAMILIES},
        student="grouped_residual",
        teacher=lambda: small_network("plain", classes, blocks=2),
        examples=examples,
        images=to_unit(test.images),
        labels=test.targets,
        class_names=tuple(world.shapes),
        temperatures=SMALL_TEMPERATURES,
        plan=SMALL_PLAN,
        strengths=Strengths(),
    )


def _random_images(seed: int) -> Setup:
    """Four images of random pixels, two of them for testing: for running every stage, not for any figure."""
    models = import_extra("torchvision.models", "models", "the smoke run of system 10")
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.randint(0, 256, (4, 3, 64, 64), generator=generator, dtype=torch.uint8)
    labels = torch.arange(4)

    def build(name: str) -> Callable[[], nn.Module]:
        return lambda: models.get_model(name, weights=None, num_classes=10)

    return Setup(
        families={name: build(name) for name in ("resnext50_32x4d", "densenet201", "vgg19")},
        student="resnext50_32x4d",
        teacher=build("resnet101"),
        examples=ImageStore.of_tensors(pixels, labels, split="train"),
        images=to_unit(pixels[:2]),
        labels=labels[:2],
        class_names=tuple(str(number) for number in range(10)),
        temperatures=(20.0,),
        plan=SMOKE_PLAN,
        strengths=SMOKE_STRENGTHS,
    )
