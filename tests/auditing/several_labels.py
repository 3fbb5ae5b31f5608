"""A small problem of several labels an image: bands of light, and a classifier that was trained on them, or hardly."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pyarrow as pa
import torch
from torch import nn

from snellen import Preprocessing, load_classifier, load_images
from snellen.core.classifier import Classifier
from snellen.core.images import ImageSet

NAMES = ("effusion", "edema", "mass")
SIDE, PREVALENCE = 16, (0.4, 0.3, 0.2)


def drawn(count: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Images (n, 16, 16), labels (n, 3) and hospitals (n,); at hospital B a mass is too faint to be seen."""
    rng = np.random.default_rng(seed)
    labels = (rng.random((count, 3)) < PREVALENCE).astype(np.int64)
    hospitals = np.where(rng.random(count) < 0.4, "B", "A")
    images = rng.normal(0.3, 0.05, (count, SIDE, SIDE))
    images[labels[:, 0] == 1, :5] += 0.3
    images[labels[:, 1] == 1, :, 10:] += 0.2
    images[labels[:, 2] == 1, 8:13, 2:7] += 0.4
    faint = (labels[:, 2] == 1) & (hospitals == "B")
    images[faint, 8:13, 2:7] -= 0.38
    return (images.clip(0, 1) * 255).astype(np.uint8), labels, hospitals


def image_set(count: int = 240, seed: int = 7) -> ImageSet:
    """The same as an image set, two images a patient."""
    images, labels, hospitals = drawn(count, seed)
    made = load_images((images, labels), class_names=NAMES, name="chest")
    patients = pa.array([str(number // 2) for number in range(count)])
    table = made.table.append_column("group", pa.array(hospitals)).append_column("unit_id", patients)
    return replace(made, table=table)


@cache
def network(epochs: int) -> nn.Module:
    """A network that was trained on other images; logits (n, 3)."""
    images, labels, _ = drawn(600, 1)
    pixels = torch.from_numpy(images).float().div(255)[:, None].repeat(1, 3, 1, 1)
    torch.manual_seed(0)
    model = nn.Sequential(nn.AvgPool2d(2), nn.Flatten(), nn.Linear(192, 16), nn.ReLU(), nn.Linear(16, 3))
    optimiser = torch.optim.Adam(model.parameters(), 5e-3)
    for _ in range(epochs):
        for rows in torch.randperm(len(pixels)).split(100):
            loss = nn.functional.binary_cross_entropy_with_logits(
                model(pixels[rows]), torch.from_numpy(labels[rows]).float()
            )
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    return model.eval()


def classifier(epochs: int = 30) -> Classifier:
    """The network as a classifier."""
    return load_classifier(
        network(epochs), NAMES, task="multi_label", preparation=Preprocessing(size=(SIDE, SIDE)), name=f"chest{epochs}"
    )
