"""What is attacked: a network with its normalisation, images, and as labels what the network says of them.

``fashion``: the bundled classifier on bundled images. ``hardened``: the same, trained on with PGD examples of other
bundled images. ``resnet18``: torchvision's network for 10 classes, trained for a few steps on enlarged bundled images;
what it has learnt does not matter, its size does.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import snellen
from snellen.core.classifier import Classifier
from snellen.methods.attacks.pgd import PGD

#: Images from here on are for training; those before it are attacked.
_TRAINING_FROM = 512


class Counting(nn.Module):
    """A network with its normalisation, counting the rows that go forward and come back."""

    def __init__(self, network: nn.Module, mean: Tensor, std: Tensor) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("mean", mean)
        self.register_buffer("std", std)
        self.forwards = self.backwards = 0

    def forward(self, images: Tensor) -> Tensor:
        self.forwards += len(images)
        normalised = (images - self.mean) / self.std
        if normalised.requires_grad:
            normalised.register_hook(self._back)
        scores: Tensor = self.network(normalised)
        return scores

    def _back(self, gradient: Tensor) -> None:
        self.backwards += len(gradient)


@dataclass(frozen=True, eq=False)
class Problem:
    """A model that every contender attacks on the same images, all of which it gets "right"."""

    name: str
    model: Counting
    images: Tensor
    labels: Tensor

    @property
    def classifier(self) -> Classifier:
        """The model as ours take it."""
        return Classifier(self.model, class_names=[str(number) for number in range(10)])


def problem(name: str, count: int, *, size: int = 64, epsilon: float = 8 / 255) -> Problem:
    """Build a problem with ``count`` images; ``size`` is for resnet18, ``epsilon`` for hardened."""
    bundled = snellen.load_classifier("bundled:fashion-cnn")
    examples = list(snellen.load_images("bundled:fashion-mnist"))
    images = torch.stack([bundled.prepare(example.image) for example in examples])
    truth = torch.tensor([int(example.label) for example in examples])
    assert bundled.module is not None
    network, (mean, std) = bundled.module, _normalisation(bundled)
    if name == "hardened":
        network = _hardened(network, mean, std, images[_TRAINING_FROM:], truth[_TRAINING_FROM:], epsilon)
    elif name == "resnet18":
        images = F.interpolate(images, size=(size, size), mode="bilinear")
        mean, std = torch.full((1, 3, 1, 1), 0.3), torch.full((1, 3, 1, 1), 0.35)
        network = _short_trained(mean, std, images[_TRAINING_FROM:], truth[_TRAINING_FROM:])
    elif name != "fashion":
        raise SystemExit(f"no problem {name!r}: fashion, hardened or resnet18")
    model = Counting(network, mean, std).eval().requires_grad_(False)
    chosen = images[: min(count, _TRAINING_FROM)]
    with torch.no_grad():
        labels = torch.cat([model(part).argmax(1) for part in chosen.split(64)])
    return Problem(name, model, chosen, labels)


def _normalisation(classifier: Classifier) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation, read off what the classifier does to black and white."""
    black, white = (classifier.normalise(torch.full((1, 3, 1, 1), value)) for value in (0.0, 1.0))
    std = 1 / (white - black)
    return -black * std, std


def _hardened(
    network: nn.Module, mean: Tensor, std: Tensor, images: Tensor, labels: Tensor, epsilon: float
) -> nn.Module:
    """Trained on for ten epochs with PGD examples; batch statistics stay as they are."""
    hardened = copy.deepcopy(network)
    model = Counting(hardened, mean, std).eval()
    attack = PGD(epsilon=epsilon, steps=5, step_size=epsilon / 3)
    generator = torch.Generator().manual_seed(0)
    optimiser = torch.optim.Adam(hardened.parameters(), lr=1e-3)
    for _ in range(10):
        for chosen in torch.randperm(len(images), generator=generator).split(64):
            hardened.requires_grad_(False)
            classifier = Classifier(model, class_names=[str(number) for number in range(10)])
            adversarial = attack.attack(classifier, images[chosen], labels[chosen]).images
            hardened.requires_grad_(True)
            optimiser.zero_grad()
            F.cross_entropy(model(adversarial), labels[chosen]).backward()
            optimiser.step()
    return hardened


def _short_trained(mean: Tensor, std: Tensor, images: Tensor, labels: Tensor) -> nn.Module:
    """ResNet-18 after 30 steps."""
    from torchvision.models import resnet18

    torch.manual_seed(0)
    network = resnet18(weights=None, num_classes=10)
    optimiser = torch.optim.Adam(network.parameters(), lr=1e-3)
    for chosen in torch.arange(len(images)).split(16)[:30]:
        optimiser.zero_grad()
        F.cross_entropy(network((images[chosen] - mean) / std), labels[chosen]).backward()
        optimiser.step()
    return network
