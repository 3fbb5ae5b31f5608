"""Scenes of a red or a blue object with one planted shortcut, and classifiers that read one part of them."""

import copy
from collections.abc import Callable
from functools import cache
from pathlib import Path

import torch
from torch import Tensor, nn

from snellen.core.artifact import Artifact, Card, Lineage
from snellen.core.classifier import Classifier
from snellen.core.finding import Finding
from snellen.core.images import ImageSet
from snellen.core.preprocessing import Preprocessing
from snellen.core.randomness import Randomness
from snellen.data.worlds.optotypes.scenes import Scenes
from snellen.data.worlds.planting.planted_defect import PlantedDefect
from snellen.data.worlds.planting.scene_shortcuts import BackgroundShortcut, LetteringShortcut, ObjectShortcut
from snellen.methods.synthesis.by_name import ByName
from snellen.methods.treatments.treatment import Patient
from snellen.models.classifiers.artifact_models import architecture_of
from snellen.reproduction.language_guided_augmentation.experiment import world
from snellen.systems.language_guided_augmentation.check import Shortcuts
from snellen.training.batches import ImageStore
from snellen.training.students import StudentPlan, as_classifier, store_of, train_student

SIDE = 32
#: The recipe of the student.
PLAN = StudentPlan(amount=80, batch_size=32, widths=(8, 16, 32))
CLASSES = ("red", "blue")
BACKGROUND = BackgroundShortcut(backgrounds=("grass", "sand"), strength=1.0)
OBJECT = ObjectShortcut(colours=("cyan", "yellow"), strength=1.0)
LETTERING = LetteringShortcut(texts=("MMMM", "I"), strength=1.0)
#: In half of the images of either class.
HARMLESS = ObjectShortcut(colours=("cyan", "yellow"), correlation="neutral")


def scenes(*planted: PlantedDefect, count: int = 60) -> ImageSet:
    """Squares, red or blue, and what is planted; captions, boxes and records follow."""
    drawn = Scenes(
        count=count, size=SIDE, label="colour", colours=CLASSES, shapes=("square",), textures=("plain",),
        sizes=("medium",), backgrounds=("grass", "sand"),
    )  # fmt: skip
    images = drawn.images(split="train")
    for number, defect in enumerate(planted):
        images = defect.plant(images, rng=Randomness(number))
    return images


class Reads(nn.Module):
    """Says "red" where a number of each image, (n, 3, h, w) → (n,), is above 0."""

    def __init__(self, reads: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.reads = reads

    def forward(self, images: Tensor) -> Tensor:
        value = 20 * self.reads(images)
        return torch.stack([value, -value], 1)


def reader(reads: Callable[[Tensor], Tensor], names: tuple[str, ...] = CLASSES) -> Classifier:
    seen = Preprocessing(size=(SIDE, SIDE))
    return Classifier(Reads(reads), class_names=names, preparation=seen, name="reader")


def the_object(images: Tensor) -> Tensor:
    """More red than blue: the class itself."""
    red, green, blue = images.unbind(1)
    reds, blues = (red - green - blue > 0.1).float(), (blue - green - red > -0.2).float()
    return (reds - blues).flatten(1).mean(1)


def the_ground(images: Tensor) -> Tensor:
    """Green along the right edge: grass, and not sand."""
    return (images[:, 1] - images[:, 0])[:, :, -4:].flatten(1).mean(1)


def the_corner(images: Tensor) -> Tensor:
    """A cyan object in the upper left corner."""
    red, green, blue = images[:, :, :8, :8].unbind(1)
    return ((green - red > 0.3) & (blue - red > 0.3)).float().flatten(1).mean(1) - 0.05


def the_letters(images: Tensor) -> Tensor:
    """Much white near the lower edge."""
    return (images[:, :, -8:].amin(1) > 0.7).float().flatten(1).mean(1) - 0.05


@cache
def student() -> nn.Module:
    """A small network that learned stars on grass and rings on sand."""
    images = world("train", 300, 0.95, 0)
    return train_student(store_of(images, PLAN), PLAN, 2, 0)


def leaning_classifier() -> Classifier:
    """The student, which leans on the background."""
    return as_classifier(copy.deepcopy(student()), PLAN, ("star", "ring"), "student")


def leaning_patient(
    *findings: Finding,
    images: ImageSet | None = None,
    maker: ByName | None = None,
    check: Shortcuts | None = None,
) -> Patient:
    """The student with its findings, and training images with the shortcut."""
    train = world("train", 120, 0.95, 3) if images is None else images
    val, seen = world("val", 60, 0.5, 4), PLAN.preparation
    return Patient(
        leaning_classifier(), findings, ImageStore.of_images(val, seen), ImageStore.of_images(train, seen), train,
        checks={"shortcuts": check or Shortcuts(support=3)}, max_loss=1.0, generator=maker,
    )  # fmt: skip


def save_leaning(folder: Path) -> str:
    """The student as a reference."""
    record = {**architecture_of("fashion_cnn", 2, SIDE), "widths": list(PLAN.widths or ())}
    lineage = Lineage(recipe={}, data="", seed=0, code_version="0")
    card = Card(
        name="leaning", kind="classifier", architecture=record, class_names=("star", "ring"),
        preparation=PLAN.preparation.model_dump(mode="json"), lineage=lineage,
    )  # fmt: skip
    Artifact(student().state_dict(), card).save(folder)
    return f"artifact:{folder}"
