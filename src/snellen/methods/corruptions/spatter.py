"""Water or mud on the lens."""

from __future__ import annotations

import torch
from torch import Tensor

from snellen.core.randomness import Randomness
from snellen.methods.corruptions.edges import box, canny, distance_to_edge, emboss, equalise
from snellen.methods.corruptions.filters import gaussian_filter

#: Red, green and blue of pale turquoise and of brown.
WATER, MUD = (175 / 255, 238 / 255, 238 / 255), (63 / 255, 42 / 255, 20 / 255)
#: Thresholds of the outline of drops, and the distance from it beyond which water is flat, in pixels.
LOW, HIGH, FLAT = 50, 150, 20
#: Mud that covers less than this is none.
COVER = 0.8


def spatter(
    images: Tensor,
    rng: Randomness,
    *,
    location: float,
    scale: float,
    deviation: float,
    threshold: float,
    strength: float,
    mud: float,
) -> Tensor:
    """Spatter images: (n, 3, h, w) in [0, 1].

    The liquid is where smoothed normal noise is above ``threshold``. Water adds light of its colour, by its thickness
    and the relief of its outline. Mud hides what is behind it.

    Source: Hendrycks and Dietterich, arXiv 1903.12261, and their code. Where no drop falls, their water divides by
    zero; here the image stays as it is.

    >>> parameters = dict(location=0.65, scale=0.3, deviation=4, threshold=0.69, strength=0.6, mud=0)
    >>> spatter(torch.rand(2, 3, 5, 7), Randomness(0).bind(2), **parameters).shape
    torch.Size([2, 3, 5, 7])

    Args:
        images: (n, 3, h, w) in [0, 1].
        rng: bound to the n examples.
        location: mean of the noise.
        scale: standard deviation of the noise before it is smoothed.
        deviation: of the Gaussian that smooths it, pixels.
        threshold: noise below it is dry.
        strength: of water, the brightest light that it adds; of mud, how much its outline is smoothed, in pixels.
        mud: from 0.5 on mud, else water; there is nothing between.
    """
    height, width = images.shape[2:]
    noise = rng.normal("liquid", (1, height, width), like=images)
    liquid = gaussian_filter(noise.mul(scale).add_(location), deviation)
    if mud < 0.5:
        light = water_relief(liquid.masked_fill_(liquid < threshold, 0)[:, 0]).mul_(strength)
        return torch.addcmul(images, light[:, None], _colour(WATER, images)).clamp_(0, 1)
    cover = gaussian_filter((liquid > threshold).to(images.dtype), strength)
    cover.masked_fill_(cover < COVER, 0)
    return torch.lerp(images, _colour(MUD, images), cover).clamp_(0, 1)


def water_relief(liquid: Tensor) -> Tensor:
    """Light on water, from its thickness in [0, 1] and from the distance to the outline of the drops: (n, h, w) → same.

    The brightest place of each plane is 1. Steps are rounded to bytes as published: the outline and the equalisation
    depend on it.
    """
    thickness = liquid.clamp(0, 1).mul_(255).floor_()
    distance = distance_to_edge(canny(thickness, LOW, HIGH), FLAT)
    relief = box(emboss(equalise(box(distance).floor_()))).round_()
    light = relief.mul_(thickness)
    return light.div_(light.flatten(1).amax(1).clamp(min=1).view(-1, 1, 1))


def _colour(values: tuple[float, float, float], images: Tensor) -> Tensor:
    return images.new_tensor(values).view(1, 3, 1, 1)
