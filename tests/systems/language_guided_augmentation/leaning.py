"""Scenes of a red or a blue object with one planted shortcut, and classifiers that read one part of them."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from snellen.core.classifier import Classifier
from snellen.core.images import ImageSet
from snellen.core.preparation import Preparation
from snellen.core.randomness import Randomness
from snellen.data.worlds.optotypes.scenes import Scenes
from snellen.data.worlds.planting.planted_defect import PlantedDefect
from snellen.data.worlds.planting.scene_shortcuts import BackgroundShortcut, LetteringShortcut, ObjectShortcut

SIDE = 32
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
    seen = Preparation(size=(SIDE, SIDE))
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
