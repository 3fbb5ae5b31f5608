"""What is explained: small networks, where the bookkeeping shows, and one at 112 pixels, where the network does."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

import snellen
from snellen.core.classifier import Classifier, Normalization
from snellen.core.preprocessing import Preprocessing

PROBLEMS = ("fashion", "scenes", "resnet")

#: The small world of the embedded networks, one object an image.
SCENES = (
    "optotypes:scenes?count={}&size=32&shapes=square,triangle,star,cross,ring,heart&sizes=medium,large&tilts=upright"
    "&textures=plain,striped,dotted&colours=red,yellow,green,blue,purple,white"
)


@dataclass(frozen=True)
class Problem:
    """Images on a grid of 8 bits, a network, and the class that it decides for."""

    name: str
    classifier: Classifier
    images: Tensor
    targets: Tensor

    @property
    def module(self) -> nn.Module:
        assert self.classifier.module is not None
        return self.classifier.module

    def scores(self, images: Tensor) -> Tensor:
        """The bare network, for the peers."""
        result: Tensor = self.module(self.classifier.normalise(images))
        return result


def problem(name: str, count: int) -> Problem:
    """One of :data:`PROBLEMS` with so many images."""
    if name == "resnet":
        from torchvision.models import resnet18

        torch.manual_seed(0)
        scale = Normalization((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
        names = [str(number) for number in range(1000)]
        classifier = Classifier(resnet18(), class_names=names, normalization=scale, name="resnet18, untrained")
        some = snellen.load_images("optotypes:scenes?size=112&count=" + str(count))
        images = torch.stack([Preprocessing()(some.read(row)) for row in range(count)])
    else:
        reference = {"fashion": "bundled:fashion-cnn", "scenes": "bundled:scene-cnn"}[name]
        classifier = snellen.load_classifier(reference)
        some = snellen.load_images("bundled:fashion-mnist" if name == "fashion" else SCENES.format(count)).limit(count)
        images = torch.stack([classifier.prepare(some.read(row)) for row in range(count)])
    images = (images * 255).round() / 255
    with torch.no_grad():
        targets = classifier(images).argmax(1)
    return Problem(name, classifier, images, targets)
