"""A classifier with a second head for blends, and the feature map from which masks are made."""

from __future__ import annotations

import copy
from typing import NamedTuple

import torch
from torch import Tensor, nn

from snellen.core.errors import InputError
from snellen.models.classifiers.fashion_cnn import FashionCNN
from snellen.models.layers.layer_edits import reading

#: Attribute by which timm says that the maps of a network have their channels last.
CHANNELS_LAST = "NHWC"


class TwoScores(NamedTuple):
    """What a pass gives.

    Args:
        plain: scores of the head for clean images, (n, k): those of the network itself.
        mixed: scores of the head for blends, (n, k).
        maps: of the feature layer, (n, c, h, w).
    """

    plain: Tensor
    mixed: Tensor
    maps: Tensor


class TwoHeads(nn.Module):
    """A network, and beside its last linear layer another one on the same features.

    >>> both = TwoHeads(FashionCNN(), "stage2").eval()
    >>> [tuple(part.shape) for part in both(torch.rand(2, 3, 28, 28))]
    [(2, 10), (2, 10), (2, 96, 7, 7)]

    Args:
        network: images → scores (n, k); its last linear layer is the head.
        feature_layer: full name of the layer whose maps are given.

    Raises:
        InputError: a network without a linear layer.
        UnknownNameError: no such layer.
    """

    def __init__(self, network: nn.Module, feature_layer: str) -> None:
        super().__init__()
        heads = [name for name, layer in network.named_modules() if isinstance(layer, nn.Linear) and name]
        if not heads:
            raise InputError(f"{type(network).__name__} has no linear layer, beside which one for blends could stand")
        self.network, self.head, self.feature_layer = network, heads[-1], feature_layer
        mixed_head = copy.deepcopy(network.get_submodule(self.head))
        assert isinstance(mixed_head, nn.Linear)
        mixed_head.reset_parameters()
        self.mixed_head = mixed_head

    def forward(self, images: Tensor) -> TwoScores:
        """Run the network once on images (n, 3, h, w)."""
        with (
            reading(self.network, self.feature_layer) as maps,
            reading(self.network, self.head, where="input") as features,
        ):
            plain = self.network(images)
        found = maps[self.feature_layer][0]
        if getattr(self.network, "output_fmt", None) == CHANNELS_LAST:
            found = found.permute(0, 3, 1, 2)
        return TwoScores(plain, self.mixed_head(features[self.head][0]), found)

    @torch.no_grad()
    def channels(self, images: Tensor) -> int:
        """Channels of the feature maps of these images.

        Raises:
            InputError: a layer that gives no maps.
        """
        was = self.training
        maps = self.eval()(images).maps
        self.train(was)
        if maps.ndim != 4:
            raise InputError(
                f"layer {self.feature_layer!r} gives {tuple(maps.shape)}; masks are made of feature maps (n, c, h, w): "
                f"name another feature_layer"
            )
        return maps.shape[1]


def middle_layer(network: nn.Module) -> str:
    """The last stage but one: maps that know objects and still know places (stage 3 of a ResNet).

    >>> middle_layer(FashionCNN())
    'stage2'

    Raises:
        InputError: a network that does not name its stages.
    """
    if isinstance(network, FashionCNN):
        return "stage2"
    told = getattr(network, "feature_info", None) or ()
    stages = [str(stage["module"]) for stage in (told if isinstance(told, list) else ())]
    if len(stages) < 2:
        raise InputError(
            f"{type(network).__name__} does not tell its stages; name the layer whose maps masks are made of with "
            f"feature_layer"
        )
    return stages[-2]
