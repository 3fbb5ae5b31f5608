"""Brightness, contrast, saturation and gamma of MedMNIST-C (arXiv 2406.17536), most of them as Pillow enhances images.

Strengths are numbers, or tensors (n, 1, 1, 1) with one for each image. Images are (n, 3, h, w) in [0, 1]; the values
between are not cut to bytes, as the published code cuts them.
"""

from __future__ import annotations

import torch
from torch import Tensor

from snellen.core.randomness import Randomness
from snellen.methods.corruptions.colour import saturate
from snellen.methods.corruptions.luma import PILLOW_LUMA


def enhance_brightness(images: Tensor, rng: Randomness, *, factor: float | Tensor) -> Tensor:
    """Mix with black: values · factor. Pillow's ``ImageEnhance.Brightness``."""
    return (images * factor).clamp_(0, 1)


def enhance_contrast(images: Tensor, rng: Randomness, *, factor: float | Tensor) -> Tensor:
    """Scale the distance to the image's mean grey. Pillow's ``ImageEnhance.Contrast``."""
    grey = _grey_mean(images)
    return (images * factor).add_(grey * (1 - factor)).clamp_(0, 1)


def add_saturation(images: Tensor, rng: Randomness, *, offset: float | Tensor) -> Tensor:
    """Add to HSV saturation, hue and value kept; grey becomes red, as published, where ``offset`` > 0."""
    return saturate(images, rng, factor=1.0, offset=offset)


def gamma(images: Tensor, rng: Randomness, *, exponent: float | Tensor) -> Tensor:
    """Raise values to a power: above 1 darkens, below 1 brightens."""
    return images.pow(exponent).clamp_(0, 1)


def _grey_mean(images: Tensor) -> Tensor:
    """Mean grey, rounded to 1/255: (n, 3, h, w) → (n, 1, 1, 1).

    Pillow rounds the grey of each pixel, and their mean, to bytes; the second is the value that contrast turns about.
    """
    weights = [weight * 255 / 65536 for weight in PILLOW_LUMA]
    red, green, blue = images.unbind(1)
    grey = (red * weights[0]).add_(green, alpha=weights[1]).add_(blue, alpha=weights[2]).add_(0.5).floor_()
    # Sums of whole numbers are exact in float64, in any order.
    mean = grey.sum((1, 2), dtype=torch.float64) / grey[0].numel() if len(grey) else grey.new_zeros(0)
    return ((mean + 0.5).floor() / 255).to(images.dtype).view(-1, 1, 1, 1)
