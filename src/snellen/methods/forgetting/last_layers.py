"""Unlearning in the last k layers: drawn anew and trained (EU-k), or trained on (CF-k); all others stay.

Goel, Prabhu, Sanyal, Lim, Torr and Kumaraguru, "Towards adversarial evaluations for inexact machine unlearning", 2022,
arXiv 2201.06640, section 4.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import ClassVar, Self

import torch
from pydantic import Field
from torch import Tensor, nn

from snellen.core.preprocessing import to_unit
from snellen.methods.forgetting.forget_split import ForgetSplit
from snellen.methods.forgetting.forgetter import Forgetting, TunedForgetter
from snellen.methods.forgetting.initial_weights import last_layers, redraw
from snellen.models.classifiers.trainable import PreparedNetwork


class CatastrophicLastLayers(TunedForgetter):
    """Train the last k layers on with the remaining images (CF-k).

    >>> CatastrophicLastLayers().k
    1
    """

    name: ClassVar[str] = "catastrophic_last_layers"

    #: Whether the last layers begin at initial weights.
    redrawn: ClassVar[bool] = False

    k: int = Field(1, ge=1, description="layers with a matrix of weights, counted from the last one")

    def forgotten(self, network: PreparedNetwork, split: ForgetSplit, call: Forgetting) -> PreparedNetwork:
        """Cross-entropy on the remaining images, in the last layers alone."""
        images = split.images.read(torch.arange(1))[0].to(network.mean.device)
        probes = to_unit(images) if images.dtype == torch.uint8 else images
        chosen = last_layers(network, probes, self.k)
        if self.redrawn:
            redraw([module for _, module in chosen], call.rng)
        upper = PartlyFrozen(network, {name for name, _ in chosen})
        self.trained_on(upper, split.remaining, call)
        return network


class ExactLastLayers(CatastrophicLastLayers):
    """Draw the last k layers anew, and train them with the remaining images (EU-k).

    >>> ExactLastLayers().k
    1
    """

    name: ClassVar[str] = "exact_last_layers"
    redrawn: ClassVar[bool] = True


class PartlyFrozen(nn.Module):
    """A network whose layers are frozen but for some: neither weights nor statistics of the others change.

    Args:
        network: is held and not copied.
        trained: names of modules that are trained.
    """

    def __init__(self, network: PreparedNetwork, trained: Collection[str]) -> None:
        super().__init__()
        self.whole = network
        self.trained = frozenset(trained)
        for name, module in network.named_modules():
            for one in module.parameters(recurse=False):
                one.requires_grad_(name in self.trained)

    def train(self, mode: bool = True) -> Self:
        """As any module, but that layers which are not trained stay in evaluation mode."""
        super().train(mode)
        for name, module in self.whole.named_modules():
            if name not in self.trained and next(iter(module.buffers(recurse=False)), None) is not None:
                module.training = False
        return self

    def forward(self, images: Tensor) -> Tensor:
        """Scores of the network."""
        scores: Tensor = self.whole(images)
        return scores
