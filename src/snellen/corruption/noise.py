"""Additive noise: the draws are arguments, so that the same example has the same noise in any batch."""

from __future__ import annotations

import torch
from torch import Tensor


def gaussian_noise(images: Tensor, deviation: float, draws: Tensor) -> Tensor:
    """Images + deviation · draws, clamped: (n, 3, h, w) in [0, 1], standard normal draws of the same shape."""
    return draws.mul(deviation).add_(images).clamp_(0, 1)


def same_in_grey(draws: Tensor, images: Tensor) -> Tensor:
    """Give grey images the same draw in all channels: (n, 3, h, w), (n, 3, h, w) → (n, 3, h, w).

    A grey sensor has one noise. Independent draws would colour the image, and a model that averages the channels would
    see only 1/√3 of the stated deviation.
    """
    grey = (images == images[:, :1]).flatten(1).all(1).view(-1, 1, 1, 1)
    return torch.where(grey, draws[:, :1], draws)
