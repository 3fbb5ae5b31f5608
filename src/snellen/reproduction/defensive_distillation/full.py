"""The published networks on a GPU: three families on images of 1,000 classes, and distillation on CIFAR-10.

Everything comes by reference, from environment variables, and nothing is downloaded. Of the report no figure is known,
so this measures its statements and reproduces no table; its temperature is not known either, and a range is measured.
Images of the attack study are read and attacked block by block; those of CIFAR-10 are held, 3 KB each. Estimated from
numbers of passes and not measured, on one GPU of 80 GB: 60 hours and 20 GB for the attack study of 1,000 images,
nine tenths of that for CW; 4 hours for each of 13 trainings of 200 epochs, and 2 hours for the attacks on each student.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from snellen.core.classifier import Classifier
from snellen.core.errors import InputError, import_extra
from snellen.core.images import ImageSet
from snellen.core.preprocessing import Preprocessing, to_unit
from snellen.core.progress import Progress
from snellen.core.randomness import Randomness
from snellen.data.references import load_images
from snellen.models.classifiers.references import load_classifier
from snellen.reproduction.defensive_distillation.attack_figures import Strengths
from snellen.reproduction.defensive_distillation.comparison import Setup, compared, extreme, under_attack
from snellen.reproduction.sample import Figure
from snellen.training.acceleration import start_accelerator
from snellen.training.batches import ImageStore
from snellen.training.plan import TrainingPlan
from snellen.training.transforms import in_sequence, random_flips, random_shifts

IMAGES, TRAIN, TEST = (f"SNELLEN_DISTILLATION_{name}" for name in ("IMAGES", "TRAIN", "TEST"))

#: Family → variable of its classifier.
FAMILIES: Mapping[str, str] = {
    name: f"SNELLEN_DISTILLATION_{name.upper()}" for name in ("resnext50", "densenet201", "vgg19")
}

#: What each variable holds.
WANTED: Mapping[str, str] = {
    IMAGES: "a reference of labelled images of the classes of the next three, such as ImageNet's validation images",
    FAMILIES["resnext50"]: "a trained ResNeXt-50 32x4d, such as torchvision:resnext50_32x4d@FILE",
    FAMILIES["densenet201"]: "a trained DenseNet-201",
    FAMILIES["vgg19"]: "a trained VGG-19",
    TRAIN: "a reference of the training images of CIFAR-10",
    TEST: "a reference of its test images",
}


@dataclass(frozen=True)
class FullSize:
    """How much of everything.

    Attributes:
        images: that are attacked, in each study.
        block: attacked at a time.
        strengths: of every attack; all images of a block are attacked by CW.
        temperatures: of the distillations.
        plan: of every training on CIFAR-10.
        side: of its images, pixels.
        teacher: architecture of torchvision.
        student: architecture of torchvision.
    """

    images: int = 1000
    block: int = 50
    strengths: Strengths = field(default_factory=lambda: Strengths(cw_steps=1000, cw_searches=9, cw_images=50))
    temperatures: tuple[float, ...] = (1.0, 5.0, 10.0, 20.0, 40.0, 100.0)
    plan: TrainingPlan = field(
        default_factory=lambda: TrainingPlan(
            epochs=200, batch_size=128, optimizer="sgd", learning_rate=0.1, momentum=0.9, weight_decay=5e-4,
            schedule="cosine", drop_last=True,
        )
    )  # fmt: skip
    side: int = 32
    teacher: str = "resnet101"
    student: str = "resnext50_32x4d"


def full(seed: int, progress: Progress, *, size: FullSize | None = None) -> Mapping[str, Figure]:
    """Figures of both studies.

    Returns:
        ``published.FAMILY``: what attacks do to each trained family, and ``published.least`` and ``published.most`` of
        the three. Of CIFAR-10 the figures of
        :func:`~snellen.reproduction.defensive_distillation.experiment.attack_comparison`, with one family.

    Raises:
        InputError: a variable is not set, or names models and images that do not belong together.
    """
    absent = [f"{name} ({what})" for name, what in WANTED.items() if not os.environ.get(name)]
    if absent:
        raise InputError(f"the full experiment of system 10 needs {'; '.join(absent)}")
    size, rng = size or FullSize(), Randomness(seed)
    device = start_accelerator(size.plan.mixed_precision).device
    images, found = load_images(os.environ[IMAGES]), dict[str, Figure]()
    for name, variable in FAMILIES.items():
        classifier = load_classifier(os.environ[variable], device=str(device))
        # Names of classes are written in many ways; another order shows in the accuracy on clean images.
        if len(classifier.class_names) != len(images.class_names or ()):
            raise InputError(
                f"{classifier.name} has {len(classifier.class_names)} classes, and {images.name} has "
                f"{len(images.class_names or ())}; expected the same classes in the same order"
            )
        blocks = _blocks(classifier, images, size, rng)
        measured = under_attack(classifier, blocks, size.strengths, rng.child(name))
        found |= {f"{name}.{key}": value for key, value in measured.items()}
    families = list(FAMILIES)
    found |= {
        "least.fgsm_error": extreme(min, found, families, "fgsm_error"),
        "most.noise_error": extreme(max, found, families, "noise_error"),
        "least.cw_success": extreme(min, found, families, "cw_success"),
    }
    distilled = compared(_cifar(seed, size, device, progress), rng, progress)
    return {**{f"published.{key}": value for key, value in found.items()}, **distilled}


def _blocks(
    classifier: Classifier, images: ImageSet, size: FullSize, rng: Randomness
) -> Iterator[tuple[Tensor, Tensor]]:
    """Images and labels as a classifier wants them, a block at a time; the same images for each classifier."""
    rows = torch.randperm(len(images), generator=rng.generator("attacked images"))[: size.images]
    for chosen in rows.split(size.block):
        prepared = torch.stack([classifier.prepare(images.read(row)) for row in chosen.tolist()])
        yield prepared.to(classifier.device), torch.from_numpy(images.labels)[chosen].to(classifier.device)


def _cifar(seed: int, size: FullSize, device: torch.device, progress: Progress) -> Setup:
    preparation = Preprocessing(size=(size.side, size.side))
    train, test = (load_images(os.environ[name]) for name in (TRAIN, TEST))
    classes = train.class_names or ()
    if test.class_names != classes:
        raise InputError(f"{test.name} has the classes {test.class_names}; expected those of {train.name}: {classes}")
    rows = torch.randperm(len(test), generator=torch.Generator().manual_seed(seed))[: size.images].tolist()
    shown = ImageStore.of_images(test.select(rows), preparation, progress=progress)
    return Setup(
        families={size.student: _small_stem(size.student, len(classes))},
        student=size.student,
        teacher=_small_stem(size.teacher, len(classes)),
        examples=ImageStore.of_images(train, preparation, progress=progress),
        images=to_unit(shown.images).to(device),
        labels=shown.targets.to(device),
        class_names=tuple(classes),
        temperatures=size.temperatures,
        plan=size.plan,
        strengths=size.strengths,
        transform=in_sequence(random_shifts(4), random_flips),
        block=size.block,
        scaled=False,
    )


def _small_stem(name: str, classes: int) -> Callable[[], nn.Module]:
    """A network of torchvision for images of 32 pixels: one 3 × 3 convolution before the stages, and no pooling."""
    models = import_extra("torchvision.models", "models", "the full experiment of system 10")

    def build() -> nn.Module:
        network: nn.Module = models.get_model(name, weights=None, num_classes=classes)
        network.conv1, network.maxpool = nn.Conv2d(3, 64, 3, 1, 1, bias=False), nn.Identity()
        return network

    return build
