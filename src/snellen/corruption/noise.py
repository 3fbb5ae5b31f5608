"""Additive noise: the draws are arguments, so that the same example has the same noise in any batch."""

from __future__ import annotations

from torch import Tensor


def gaussian_noise(images: Tensor, deviation: float, draws: Tensor) -> Tensor:
    """Images + deviation · draws, clamped: (n, 3, h, w) in [0, 1], standard normal draws of the same shape."""
    return draws.mul(deviation).add_(images).clamp_(0, 1)
