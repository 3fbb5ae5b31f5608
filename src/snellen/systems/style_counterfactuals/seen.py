"""The frozen classifier as training and search see it."""

from __future__ import annotations

import torch
from torch import Tensor

from snellen.core.classifier import Classifier
from snellen.core.errors import InputError
from snellen.systems.style_counterfactuals.losses import min_max
from snellen.systems.style_counterfactuals.maps import map_layers, read_maps
from snellen.systems.style_counterfactuals.pyramid import resized

#: Layers of the classifier whose maps the perceptual distance compares: the first sizes of map.
EARLY = 3


class Seen:
    """A frozen classifier: images of any side → logits, and maps of its first layers, with gradients to the images.

    Nothing of the classifier is changed. It runs in evaluation mode, as every :class:`Classifier` does.

    Args:
        classifier: differentiable, of one class for each image, with a module.
        size: height and width at which it sees images.

    Raises:
        InputError: no layer gives a map.
    """

    def __init__(self, classifier: Classifier, size: tuple[int, int]) -> None:
        self.classifier, self.size = classifier, size
        assert classifier.module is not None
        probe = torch.full((2, 3, *size), 0.5, device=classifier.device)
        self._layers = map_layers(classifier.module, lambda: classifier(probe))[:EARLY]
        if not self._layers:
            raise InputError(
                f"{classifier.name} has no layer that gives a map, which the perceptual loss compares images in"
            )

    def scores(self, images: Tensor) -> Tensor:
        """Logits (n, K) of images (n, 3, side, side) in [0, 1]."""
        return self.classifier(resized(images, self.size))

    def maps(self, images: Tensor) -> list[Tensor]:
        """Maps of the first layers, of images stretched to their own range."""
        module = self.classifier.module
        assert module is not None
        stretched = resized((min_max(images) / 2 + 0.5).clamp(0, 1), self.size)
        return read_maps(module, self._layers, lambda: self.classifier(stretched), self.classifier.name)[1]
