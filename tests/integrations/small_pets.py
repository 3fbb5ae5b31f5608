"""Images of 4 x 4 pixels in three classes, and a training set of the same, for training loops."""

import numpy as np
import torch
from torch.utils.data import TensorDataset

import snellen
from tests.tiny_network import NAMES


def pixels_and_labels(count=48, seed=3):
    """Bytes (n, 4, 4, 3), and labels: the brightest channel."""
    pixels = np.random.default_rng(seed).integers(0, 256, (count, 4, 4, 3), dtype=np.uint8)
    labels = np.arange(count) % 3
    for row, label in enumerate(labels):
        pixels[row, ..., label] = 128 + pixels[row, ..., label] // 2
    return pixels, labels


def audited():
    pixels, labels = pixels_and_labels()
    return snellen.load_images(pixels, labels, class_names=NAMES, name="pets")


def training_set():
    pixels, labels = pixels_and_labels(64, 4)
    return TensorDataset(torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255, torch.from_numpy(labels))
