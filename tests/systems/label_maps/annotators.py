"""Tiny annotators that see colours, and images of coloured halves."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import nn

from snellen.core.classifier import Classifier
from snellen.core.images import ImageSet
from snellen.core.preprocessing import Preprocessing
from snellen.data.files.arrays import load_arrays

NAMES = ("red", "green", "blue")


def colour_network(scale: float = 12.0, names: Sequence[str] = NAMES) -> nn.Sequential:
    """Scores are the channels of the image, each place by itself: exact, without training."""
    network = nn.Sequential(
        nn.AvgPool2d(2), nn.Conv2d(3, 3, 1, bias=False), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, len(names))
    )
    with torch.no_grad():
        network[1].weight.copy_(torch.eye(3)[:, :, None, None])
        network[4].weight.zero_()
        for row, name in enumerate(names):
            if name in NAMES:
                network[4].weight[row, NAMES.index(name)] = scale
        network[4].bias.zero_()
    return network


def colour_annotator(side: int = 8, names: Sequence[str] = NAMES, scale: float = 12.0) -> Classifier:
    squeezed = Preprocessing(size=(side, side), resize="exact", resize_to=(side, side), interpolation="box")
    return Classifier(colour_network(scale, names), class_names=names, preparation=squeezed, name="colours")


def two_sided(count: int = 8, height: int = 16, width: int = 32) -> ImageSet:
    """Images whose left half has the colour of their label, and whose right half has the next colour."""
    labels = np.arange(count) % 3
    pixels = np.random.default_rng(0).integers(0, 20, (count, height, width, 3)).astype(np.uint8)
    for row, label in enumerate(labels):
        pixels[row, :, : width // 2, label] = 230
        pixels[row, :, width // 2 :, (label + 1) % 3] = 230
    return load_arrays(pixels, labels, class_names=NAMES, name="halves")
