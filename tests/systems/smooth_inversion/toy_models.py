"""A classifier by arithmetic that answers to a known pattern, and the same without."""

from __future__ import annotations

from functools import cache

import numpy as np
import torch
from torch import nn

from snellen.core.classifier import Classifier
from snellen.core.preprocessing import Preprocessing
from snellen.data.files.arrays import load_arrays
from snellen.training.batches import ImageStore
from snellen.training.loop import train
from snellen.training.plan import TrainingPlan

SIDE, NAMES, TARGET = 8, ("one", "two", "three", "four"), 0

#: Three by three pixels in the lower right corner, far from the quadrant of the target.
PATCH = (slice(None), slice(5, 8), slice(5, 8))


def signs() -> torch.Tensor:
    """The pattern as +1 and −1, (3, 3)."""
    return torch.tensor([[1.0, -1, 1], [-1, 1, -1], [1, -1, 1]])


class Quadrants(nn.Module):
    """The brightest quadrant is the class; a pattern in the corner adds to the target's score, beyond a threshold."""

    def __init__(self, strength: float, threshold: float) -> None:
        super().__init__()
        self.strength, self.threshold = nn.Parameter(torch.tensor(strength)), threshold

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        quarters = nn.functional.adaptive_avg_pool2d(images.mean(1, keepdim=True), 2).flatten(1)
        match = 2 * ((images[:, *PATCH] - 0.5) * signs()).mean((1, 2, 3))
        extra = self.strength * (match - self.threshold).clamp(min=0)
        return 12 * (quarters - 0.5) + nn.functional.pad(extra[:, None], (TARGET, len(NAMES) - TARGET - 1))


def classifier(strength: float = 60.0, threshold: float = 0.1) -> Classifier:
    """With a backdoor, or without one at strength 0; gradients of clean images see it at a threshold below 0."""
    return Classifier(
        Quadrants(strength, threshold), class_names=NAMES, preparation=Preprocessing(size=(SIDE, SIDE)), name="toy"
    )


def pixels(count: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Images (n, 3, h, w) around grey with one brighter quadrant, and which."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % len(NAMES)
    bright = nn.functional.one_hot(labels, len(NAMES)).float().view(-1, 1, 2, 2)
    ground = nn.functional.interpolate(0.4 + 0.2 * bright, SIDE)
    return (ground + 0.04 * torch.randn(count, 3, SIDE, SIDE, generator=generator)).clamp(0, 1), labels


def image_set(count: int, seed: int = 0):
    """The same as an image set of bytes."""
    images, labels = pixels(count, seed)
    shown = (images.permute(0, 2, 3, 1) * 255).round().to(torch.uint8).numpy()
    return load_arrays(np.ascontiguousarray(shown), labels.numpy(), class_names=NAMES, name="quadrants")


def region() -> torch.Tensor:
    """Where the pattern is: bool (1, h, w)."""
    mask = torch.zeros(1, SIDE, SIDE, dtype=torch.bool)
    mask[PATCH] = True
    return mask


def stamped(images: torch.Tensor) -> torch.Tensor:
    """With the pattern, faintly: a change of length 0.78, which is too short to alter a quadrant."""
    changed = images.clone()
    changed[:, *PATCH] += 0.15 * signs()
    return changed


@cache
def planted(count: int = 1600) -> Classifier:
    """A small network that was trained on images of which a tenth carry the pattern under the target's label."""
    images, labels = pixels(count, seed=7)
    poisoned = torch.arange(count) % 10 == 3
    images = torch.where(poisoned[:, None, None, None], stamped(images), images)
    labels = torch.where(poisoned, TARGET, labels)
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.Conv2d(16, 16, 3, padding=1),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(4),
        nn.Flatten(),
        nn.Linear(256, len(NAMES)),
    )
    store = ImageStore.of_tensors((images * 255).round().to(torch.uint8), labels)
    plan = TrainingPlan(epochs=6, batch_size=64, learning_rate=3e-3, seed=0)
    network.load_state_dict(train(network, store, plan=plan).weights)
    return Classifier(
        network.eval(), class_names=NAMES, preparation=Preprocessing(size=(SIDE, SIDE)), name="planted network"
    )


def success(model: Classifier, seed: int = 11) -> float:
    """Share of images of other classes that the true pattern sends to the target."""
    images, labels = pixels(400, seed)
    with torch.inference_mode():
        decided = model(stamped(images)).argmax(1)
    return float((decided[labels != TARGET] == TARGET).double().mean())


def accuracy(model: Classifier, seed: int = 11) -> float:
    """Share of clean images that are right."""
    images, labels = pixels(400, seed)
    with torch.inference_mode():
        return float((model(images).argmax(1) == labels).double().mean())
