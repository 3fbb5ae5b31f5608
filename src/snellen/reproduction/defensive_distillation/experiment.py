"""System 10: a one-step attack beside an optimisation attack on three families, and what distillation does to both.

Every network is attacked by FGSM over a range of strengths, PGD and CW. Then a teacher and a student are distilled at
several temperatures, and each student is attacked as before, through logits / T, through the margin, and with images
made on an undistilled network of its architecture: what resists only the plain attack has masked its gradients.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import nn

from snellen.core.errors import import_extra
from snellen.core.images import Split
from snellen.core.preprocessing import to_unit
from snellen.core.progress import Progress
from snellen.core.randomness import Randomness
from snellen.core.system import Scale
from snellen.data.worlds.optotypes.scenes import Scenes
from snellen.reproduction.defensive_distillation.attack_figures import Strengths
from snellen.reproduction.defensive_distillation.comparison import Setup, compared
from snellen.reproduction.defensive_distillation.full import full
from snellen.reproduction.sample import Figure
from snellen.reproduction.shared.small_networks import FAMILIES, small_network
from snellen.training.batches import ImageStore
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


def attack_comparison(scale: Scale, seed: int, progress: Progress) -> Mapping[str, Figure]:
    """Measure the claims of system 10.

    Returns:
        For each family, for ``undistilled`` (the family of the student again) and for each ``distilled_T``: clean
        accuracy, error under FGSM by strength, success of FGSM, PGD and CW, median distances, what survives as bytes;
        for the last two also the share of exactly zero gradients, FGSM through logits / T and through the margin, and
        for students ``transfer_success``; ``teacher_T.clean_accuracy``; and the least, or the most, of the families. A
        success has a value for each image that was right.

    Raises:
        InputError: the scale is full, and what it needs is not named.
    """
    if scale == "full":
        return full(seed, progress)
    return compared(_setup(scale, seed), Randomness(seed), progress)


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
    "full": ("see full.py",),
}


def _setup(scale: Scale, seed: int) -> Setup:
    return _scenes(seed) if scale == "small" else _random_images(seed)


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
