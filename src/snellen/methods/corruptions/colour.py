"""Brightness, contrast, saturation and gamma, as ImageNet-C and as MedMNIST-C have them, and weights of grey.

The published code of ImageNet-C goes to HSV and back; here the same is done in closed form on red, green and blue. That
of MedMNIST-C cuts values between to bytes; here they are not cut. Strengths are numbers, or tensors (n, 1, 1, 1) with
one for each image. Images are (n, 3, h, w) in [0, 1].
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from snellen.core.randomness import Randomness

#: As OpenCV and scikit-image mix them.
LUMA = (0.299, 0.587, 0.114)

#: As Pillow mixes them, in 65536ths.
PILLOW_LUMA = (19595, 38470, 7471)


#: Values up to this are black, which has neither hue nor saturation.
_BLACK = 1e-12


def brightness(images: Tensor, rng: Randomness, *, amount: float | Tensor) -> Tensor:
    """Add to the value channel of HSV, hue and saturation kept.

    Scaling RGB by new value / old value is that; black has no hue and turns grey.
    """
    value = images.amax(1, keepdim=True)
    black = (value <= _BLACK).to(images.dtype)
    # Black counts as white of value 0, so that one product serves all.
    gain = (value + amount).clamp_(0, 1).div_(value + black)
    return (images + black).mul_(gain).clamp_(0, 1)


def contrast(images: Tensor, rng: Randomness, *, factor: float | Tensor) -> Tensor:
    """Scale the distance to each channel's mean over the image."""
    mean = images.mean((2, 3), keepdim=True)
    return (images * factor).add_(mean * (1 - factor)).clamp_(0, 1)


def saturate(images: Tensor, rng: Randomness, *, factor: float | Tensor, offset: float | Tensor) -> Tensor:
    """Change HSV saturation s to s · factor + offset, clipped to [0, 1]; hue and value kept.

    Grey has no hue; as published it counts as red, which shows where ``offset`` > 0.

    >>> import torch
    >>> pixel = torch.tensor([0.8, 0.6, 0.4]).view(1, 3, 1, 1)
    >>> saturate(pixel, Randomness(0), factor=2.0, offset=0.0).flatten()
    tensor([0.8000, 0.4000, 0.0000])
    """
    value = images.amax(1, keepdim=True)
    chroma = value - images.amin(1, keepdim=True)
    saturation = chroma / value.clamp(min=_BLACK)
    changed_chroma = saturation.mul_(factor).add_(offset).clamp_(0, 1).mul_(value)
    grey = chroma == 0
    # Hue is kept where the distances of the channels to the value keep their ratios.
    gain = changed_chroma / chroma.masked_fill_(grey, 1.0)
    changed = (images - value).mul_(gain).add_(value)
    changed[:, 1:] -= changed_chroma.masked_fill_(~grey, 0.0)
    return changed.clamp_(0, 1)


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
    # A third of the time of a power, and equal to it up to 6e-8; black has the logarithm −∞, and stays black.
    return images.log2().mul_(exponent).exp2_().clamp_(0, 1)


def shadow(images: Tensor, rng: Randomness, *, amount: float | Tensor) -> Tensor:
    """Light that falls off across the image: from all of it at one edge to 1 − ``amount`` at the opposite one.

    The direction is drawn for each image. The way is measured between the corners that it leads from and to, so that
    the whole fall is seen at any direction.
    """
    height, width = images.shape[2:]
    angle = rng.uniform("direction", ()).to(images).mul(2 * math.pi).view(-1, 1, 1, 1)
    down = torch.linspace(-1, 1, height, dtype=images.dtype, device=images.device).view(1, 1, -1, 1)
    right = torch.linspace(-1, 1, width, dtype=images.dtype, device=images.device).view(1, 1, 1, -1)
    way = (down * angle.sin() + right * angle.cos()) / (angle.sin().abs() + angle.cos().abs())
    return (images * (1 - amount * (way + 1) / 2)).clamp_(0, 1)


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
