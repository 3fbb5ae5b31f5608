"""Instances that are images: rows of pixels, an encoder that is trained with what stands behind it, and their views.

A bag of images goes through the same stores, heads and losses as a bag of vectors: an image is a row of its pixels.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from snellen.core.randomness import Randomness
from snellen.systems.multiple_instance.feature_views import Views
from snellen.training.transforms import (
    BatchTransform,
    colour_jitter,
    grey,
    in_sequence,
    random_flips,
    random_resized_crops,
)


class ImageEncoder(nn.Module):
    """Rows of pixels in [0, 1], (…, 3·side²) → vectors (…, width).

    >>> encoder = ImageEncoder(nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()), side=4)
    >>> encoder(torch.ones(2, 5, 48)).shape
    torch.Size([2, 5, 3])

    Args:
        network: images (n, 3, side, side) in [0, 1] → vectors (n, width).
        side: height and width of the images, pixels.
    """

    def __init__(self, network: nn.Module, side: int) -> None:
        super().__init__()
        self.network, self.side = network, side

    def forward(self, rows: Tensor) -> Tensor:
        """Vectors of all images at once."""
        vectors: Tensor = self.network(rows.reshape(-1, 3, self.side, self.side))
        return vectors.unflatten(0, rows.shape[:-1])


def image_views(side: int, *, smallest: float = 0.2) -> Views:
    """Views of images, as published: ``strong`` is a crop and a flip, and all others change the colours too.

    Colours: brightness, contrast and saturation by up to 0.4 and hue by up to 0.1 in four of five images; one of five
    is grey.

    Args:
        side: height and width of the images, pixels.
        smallest: least share of the area that a crop shows.
    """
    strong = in_sequence(random_resized_crops(smallest), random_flips)
    colours = in_sequence(strong, colour_jitter(0.4, 0.4, 0.4, 0.1, share=0.8), _random_grey(0.2))

    def view(rows: Tensor, rng: Randomness, name: str) -> Tensor:
        # Views of a bag have one randomness for all of its instances: each has its own by its place.
        own = Randomness(rng.seed, None, (*rng.path, "view", name)).bind(len(rows))
        images = rows.reshape(-1, 3, side, side)
        nothing = torch.zeros(len(rows))
        return (strong if name == "strong" else colours)(images, nothing, own)[0].flatten(1)

    return view


def _random_grey(share: float) -> BatchTransform:
    """Take the colours from a share of the images."""

    def without(images: Tensor, targets: Tensor, rng: Randomness) -> tuple[Tensor, Tensor]:
        chosen = rng.uniform("grey", (1, 1, 1), like=images) < share
        return torch.where(chosen, grey(images).expand_as(images), images), targets

    return without


def with_encoder(head: nn.Module, encoder: nn.Module) -> nn.Module:
    """A head of vectors of length 1 whose hidden layer becomes an encoder of images, trained with it.

    Args:
        head: of :func:`snellen.models.encoders.head_on_encoder.build_head` for vectors of one number, which are not
            standardised; changed in place.
        encoder: rows of pixels → vectors of the head's width.
    """
    head.hidden = encoder
    return head
