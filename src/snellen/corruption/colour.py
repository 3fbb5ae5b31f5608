"""Brightness and contrast."""

from __future__ import annotations

import torch
from torch import Tensor


def brightness(images: Tensor, amount: float) -> Tensor:
    """Add ``amount`` to the value channel of HSV, hue and saturation kept: (n, 3, h, w) in [0, 1].

    Scaling RGB by new value / old value is that, without the round trip through HSV; black has no hue and turns grey.
    """
    value = images.amax(1, keepdim=True)
    raised = (value + amount).clamp(0, 1)
    return torch.where(value > 0, images * (raised / value.clamp(min=1e-12)), raised).clamp_(0, 1)


def contrast(images: Tensor, factor: float) -> Tensor:
    """Scale the distance to each channel's mean over the image: (n, 3, h, w) in [0, 1]."""
    mean = images.mean((2, 3), keepdim=True)
    return torch.lerp(mean, images, factor).clamp_(0, 1)
