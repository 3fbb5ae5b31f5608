"""Autoencoders that are trained until their training images attract others.

Kupeev and Nitzany, "Semiotics Networks Representing Perceptual Inference" (CONN), arXiv 2310.05212, with the
overparameterised autoencoder of Radhakrishnan, Belkin and Uhler, "Overparameterized neural networks implement
associative memory", PNAS 2020: cosid after every layer, the last one included, and nothing that keeps the output in
[0, 1].
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from snellen.core.errors import InputError, unknown_name

#: Convolutions as published, or fully connected layers, which a processor trains in a minute.
Kind = Literal["convolution", "perceptron"]

#: Layers of the fully connected network before its output.
_HIDDEN = 10


class Cosid(nn.Module):
    """cos(u) − u of every element."""

    def forward(self, inputs: Tensor) -> Tensor:
        """Apply the function."""
        return torch.cos(inputs) - inputs


class PerceptualAutoencoder(nn.Module):
    """From an image to what is seen of it, the observed-to-seen map PR of the paper: (n, c, s, s) → (n, c, s, s).

    Attributes:
        channels: c, 1 for grey images.
        side: s, pixels.
    """

    def __init__(self, layers: nn.Sequential, *, channels: int, side: int) -> None:
        super().__init__()
        if channels not in (1, 3):
            raise InputError(f"an autoencoder sees images of 1 or 3 channels, got {channels}")
        self.layers, self.channels, self.side = layers, channels, side

    def forward(self, images: Tensor) -> Tensor:
        """See images (n, c, s, s).

        Raises:
            InputError: images of another size.
        """
        expected = (self.channels, self.side, self.side)
        if images.shape[1:] != expected:
            raise InputError(f"this autoencoder sees images of {expected}, got {tuple(images.shape[1:])}")
        seen: Tensor = self.layers(images)
        return seen


def build(*, kind: Kind, width: int, side: int, channels: int) -> PerceptualAutoencoder:
    """Build an autoencoder with initial weights from torch's generator.

    Args:
        kind: ``convolution``: convolutions 3 × 3 of stride 2 down to one pixel, then up again by convolution, cosid and
            doubling, and three more convolutions at full size. ``perceptron``: ten hidden layers.
        width: channels, or units, of every layer; 256 channels as published.
        side: height and width of the images, pixels; 28 in the paper.
        channels: 1 or 3.

    Raises:
        InputError: an unknown kind, or sizes below 1.
    """
    if kind not in ("convolution", "perceptron"):
        raise unknown_name("kind of autoencoder", kind, ["convolution", "perceptron"])
    if width < 1 or side < 2:
        raise InputError(f"an autoencoder needs width of at least 1 and side of at least 2, got {width} and {side}")
    layers = _convolutions(width, side, channels) if kind == "convolution" else _connected(width, side, channels)
    return PerceptualAutoencoder(layers, channels=channels, side=side)


class _Enlarge(nn.Module):
    """Nearest neighbours, to a given side."""

    def __init__(self, side: int) -> None:
        super().__init__()
        self.side = side

    def forward(self, maps: Tensor) -> Tensor:
        return F.interpolate(maps, size=(self.side, self.side), mode="nearest")


def _convolutions(width: int, side: int, channels: int) -> nn.Sequential:
    sides = [side]
    while sides[-1] > 1:
        sides.append(-(-sides[-1] // 2))
    layers: list[nn.Module] = []
    for number in range(len(sides) - 1):
        layers += [nn.Conv2d(width if number else channels, width, 3, stride=2, padding=1), Cosid()]
    for larger in reversed(sides[:-1]):
        layers += [nn.Conv2d(width, width, 3, padding=1), Cosid(), _Enlarge(larger)]
    for out in (width, width, channels):
        layers += [nn.Conv2d(width, out, 3, padding=1), Cosid()]
    return nn.Sequential(*layers)


def _connected(width: int, side: int, channels: int) -> nn.Sequential:
    pixels = channels * side * side
    layers: list[nn.Module] = [nn.Flatten()]
    for number in range(_HIDDEN):
        layers += [nn.Linear(width if number else pixels, width), Cosid()]
    return nn.Sequential(*layers, nn.Linear(width, pixels), Cosid(), nn.Unflatten(1, (channels, side, side)))
