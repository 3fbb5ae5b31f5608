"""A classifier by arithmetic that answers to a known pattern, and the same without."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from snellen.core.classifier import Classifier
from snellen.core.preparation import Preparation
from snellen.data.files.arrays import load_arrays

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
        Quadrants(strength, threshold), class_names=NAMES, preparation=Preparation(size=(SIDE, SIDE)), name="toy"
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
