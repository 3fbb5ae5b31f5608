"""A classifier behind a perceptual layer: it decides about what is seen of an image, never about the image itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from torch import Tensor, nn

from snellen.models.classifiers.artifact_models import build_network
from snellen.systems.perception.autoencoder import build as build_autoencoder
from snellen.systems.perception.layer import PerceptualLayer, perceive


class PerceptualizedNetwork(nn.Module):
    """Autoencoder, perceptual layer, classifier: prepared images (n, 3, s, s) → logits (n, k).

    An autoencoder of one channel sees the mean of the three; the classifier gets it three times.

    Args:
        autoencoder: arguments of :func:`snellen.systems.perception.autoencoder.build`.
        layer: fields of :class:`~snellen.systems.perception.layer.PerceptualLayer`.
        classifier: record of the classifier's architecture.
    """

    def __init__(
        self, *, autoencoder: Mapping[str, Any], layer: Mapping[str, Any], classifier: Mapping[str, Any]
    ) -> None:
        super().__init__()
        self.autoencoder = build_autoencoder(**autoencoder)
        self.layer = PerceptualLayer(**layer)
        self.classifier = build_network(classifier, "a perceptualized network")

    def observed(self, images: Tensor) -> Tensor:
        """What the autoencoder is shown of prepared images (n, 3, s, s): (n, 1 or 3, s, s)."""
        return observed(images, self.autoencoder.channels)

    def forward(self, images: Tensor) -> Tensor:
        """Perceive and classify."""
        seen = perceive(self.autoencoder, self.observed(images), self.layer)
        scores: Tensor = self.classifier(as_shown(seen))
        return scores


def observed(images: Tensor, channels: int) -> Tensor:
    """Images (n, 3, s, s) as an autoencoder of so many channels takes them."""
    return images.mean(1, keepdim=True) if channels == 1 else images


def as_shown(seen: Tensor) -> Tensor:
    """Seen images (n, 1 or 3, s, s) as a classifier takes them, (n, 3, s, s)."""
    return seen.expand(-1, 3, -1, -1) if seen.shape[1] == 1 else seen


def architecture(
    autoencoder: Mapping[str, Any], layer: PerceptualLayer, classifier: Mapping[str, Any]
) -> dict[str, Any]:
    """The record in a card, from which all three are built again."""
    return {
        "name": "perceptualized",
        "autoencoder": dict(autoencoder),
        "layer": asdict(layer),
        "classifier": dict(classifier),
    }
