"""A network that learned its few training images by heart, in a second."""

from functools import cache

import torch
from torch import nn

from snellen.core.classifier import Classifier
from snellen.core.preprocessing import Preprocessing
from snellen.core.randomness import Randomness
from snellen.methods.forgetting.forget_split import ForgetSplit
from snellen.methods.forgetting.forgetter import Forgetting, fit_network
from snellen.models.classifiers.trainable import PreparedNetwork, trainable
from snellen.training.batches import ImageStore
from snellen.training.plan import TrainingPlan

#: Numbers of its training.
PLAN = TrainingPlan(epochs=30, batch_size=32, learning_rate=0.01, weight_decay=0.0)


def dots(count: int = 96, seed: int = 0) -> ImageStore:
    """Noise with a brighter half that is the class; every twelfth image has the other label."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % 2
    pixels = torch.rand(count, 3, 8, 8, generator=generator) * 140
    pixels[labels == 1, :, :4] += 60
    targets = torch.where(torch.arange(count) % 12 == 5, 1 - labels, labels)
    return ImageStore.of_tensors(pixels.round().to(torch.uint8), targets)


@cache
def learned(norm: bool = True) -> tuple[PreparedNetwork, ImageStore]:
    """The network and its training images; neither is changed by any method."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = nn.Sequential(
            nn.Conv2d(3, 16, 3, padding=1),
            nn.BatchNorm2d(16) if norm else nn.Identity(),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(1024, 2),
        )
    classifier = Classifier(
        network, class_names=("dark", "bright"), preparation=Preprocessing(size=(8, 8)), name="dots"
    )
    store = dots()
    return fit_network(trainable(classifier), store, PLAN, Forgetting(Randomness(0)), recipe={}).eval(), store


def split_of(count: int = 12) -> ForgetSplit:
    """A forget set that holds images of both labels, wrong ones too."""
    return ForgetSplit(learned()[1], torch.arange(5, 5 + count))
