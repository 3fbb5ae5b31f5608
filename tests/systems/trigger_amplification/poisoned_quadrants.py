"""A poisoned set of bright quadrants, a network that was trained on it, and images that a generator would draw."""

from functools import cache

import numpy as np
import torch
from torch import nn

from snellen.core.classifier import Classifier
from snellen.core.preprocessing import Preprocessing
from snellen.data.files.arrays import load_arrays
from snellen.systems.trigger_amplification.poisoning import choose, poison, poison_tensors, published_patch
from snellen.training.batches import ImageStore
from snellen.training.loop import train
from snellen.training.plan import TrainingPlan
from tests.systems.smooth_inversion.toy_models import NAMES, SIDE, pixels

TARGET, TRIGGER = 0, published_patch(SIDE)


def quadrants(count, seed=7):
    images, labels = pixels(count, seed)
    return (images * 255).round().to(torch.uint8), labels


def image_set(images, labels):
    return load_arrays(np.ascontiguousarray(images.permute(0, 2, 3, 1).numpy()), labels.numpy(), class_names=NAMES)


@cache
def poisoned(count=800, rate=0.1):
    """The set with its truth, which images are poisoned, and the tensors."""
    images, labels = quadrants(count)
    choice = choose(labels.numpy(), target=TARGET, rate=rate, seed=0)
    tensors = poison_tensors(images, labels, TRIGGER, choice)
    return poison(image_set(images, labels), TRIGGER, choice), choice, tensors


@cache
def classifier(dirty=True):
    """A small network; it answers to the trigger, or it was trained on the clean images."""
    _, _, tensors = poisoned()
    images, labels = (tensors.images, tensors.labels) if dirty else quadrants(800)
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.Conv2d(16, 16, 3, padding=1), nn.ReLU(),
        nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(256, 4),
    )  # fmt: skip
    plan = TrainingPlan(epochs=8, batch_size=64, learning_rate=3e-3, seed=0)
    network.load_state_dict(train(network, ImageStore.of_tensors(images, labels), plan=plan).weights)
    return Classifier(
        network, class_names=NAMES, preparation=Preprocessing(size=(SIDE, SIDE)), name="quadrants", feature_layer="6"
    )


class Answers(nn.Module):
    """The brightest quadrant is the class, certain if it is clear; the trigger, also a faint one, decides."""

    def forward(self, images):
        quarters = nn.functional.adaptive_avg_pool2d(images.mean(1, keepdim=True), 2).flatten(1)
        wanted = 2 * TRIGGER.cells_of_pattern(3).float() - 1
        match = 2 * ((images[:, :, -3:, -3:] - 0.5) * wanted).mean((1, 2, 3))
        return 40 * (quarters - 0.5) + nn.functional.pad(60 * (match[:, None] - 0.2).clamp(min=0), (TARGET, 3 - TARGET))


def exact():
    """A classifier by arithmetic that answers to the trigger."""
    return Classifier(Answers(), class_names=NAMES, preparation=Preprocessing(size=(SIDE, SIDE)), name="answers")


def drawn(count, share, seed=21):
    """What a poisoned generator draws: of the target's images a share shows the trigger on another quadrant."""
    images, labels = quadrants(4 * count, seed)
    others = (labels != TARGET).nonzero().flatten()[: round(share * count)]
    labels, images = labels.clone(), images.clone()
    of_target = (labels == TARGET).nonzero().flatten()[: len(others)]
    images[of_target] = TRIGGER.stamp(images[others]).images
    return image_set(images, labels)
