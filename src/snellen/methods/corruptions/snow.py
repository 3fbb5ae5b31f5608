"""Falling snow."""

from __future__ import annotations

import torch
from torch import Tensor

from snellen.core.randomness import Randomness
from snellen.methods.corruptions.luma import LUMA
from snellen.methods.corruptions.motion import motion_filter
from snellen.methods.corruptions.zoom import central_zoom


def snow(
    images: Tensor,
    rng: Randomness,
    *,
    location: float,
    scale: float,
    zoom: float,
    threshold: float,
    radius: float,
    deviation: float,
    keep: float,
) -> Tensor:
    """Add falling flakes to an image that snow light has whitened: (n, 3, h, w) in [0, 1].

    Flakes are normal noise, enlarged, cut below ``threshold``, and blurred along a direction drawn within 45° of
    the vertical. They are added twice, as they are and turned by 180°.

    Source: Hendrycks and Dietterich, arXiv 1903.12261, and their code. The blur is in float, theirs rounds to bytes.

    >>> parameters = dict(location=0.1, scale=0.3, zoom=3, threshold=0.5, radius=10, deviation=4, keep=0.8)
    >>> snow(torch.rand(2, 3, 5, 7), Randomness(0).bind(2), **parameters).shape
    torch.Size([2, 3, 5, 7])

    Args:
        images: (n, 3, h, w) in [0, 1].
        rng: bound to the n examples.
        location: mean of the noise.
        scale: standard deviation of the noise.
        zoom: enlargement of the noise about the centre, at least 1: size of the flakes.
        threshold: noise below it is no flake.
        radius: of the motion blur, pixels.
        deviation: of the motion blur, pixels.
        keep: weight of the image beside its whitened version, which is max(image, 1.5 · grey + 0.5).
    """
    height, width = images.shape[2:]
    noise = rng.normal("flakes", (1, height, width), like=images)
    flakes = central_zoom(noise.mul(scale).add_(location), zoom)
    flakes.masked_fill_(flakes < threshold, 0).clamp_(0, 1)
    flakes.mul_(255).floor_().div_(255)  # a byte in the published code, which lowers all flakes by half a step
    angles = rng.uniform("angle", (), -135, -45)
    flakes = motion_filter(flakes, angles, radius=radius, deviation=deviation)
    flakes += flakes.flip((2, 3))
    red, green, blue = LUMA
    grey = (images[:, :1] * red).add_(images[:, 1:2], alpha=green).add_(images[:, 2:], alpha=blue)
    whitened = torch.maximum(images, grey.mul_(1.5).add_(0.5))
    return whitened.lerp_(images, keep).add_(flakes).clamp_(0, 1)
