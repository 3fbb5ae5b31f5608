"""How far restored images, and maps of disparity, are from the truth, one figure for each."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from snellen.core.errors import InputError


def peak_signal_to_noise(images: Tensor, truth: Tensor) -> Tensor:
    """10 log10(1 / mean squared error) in decibels: (n, c, h, w) in [0, 1] → float64 (n,); infinite for equal images.

    Outputs of a network are clamped to [0, 1] first, as a saved image would be.

    >>> peak_signal_to_noise(torch.zeros(1, 3, 2, 2), torch.full((1, 3, 2, 2), 0.1)).round(decimals=3).tolist()
    [20.0]
    """
    error = (_clamped(images, truth) - truth.double()).square().flatten(1).mean(1)
    return -10 * error.log10()


def structural_similarity(images: Tensor, truth: Tensor, *, side: int = 11, deviation: float = 1.5) -> Tensor:
    """SSIM: Z. Wang, A. C. Bovik, H. R. Sheikh and E. P. Simoncelli, 2004, eq. 13: (n, c, h, w) → float64 (n,).

    Gaussian windows of 11 pixels, constants 0.01² and 0.03², averaged over windows inside the image and over channels.

    Raises:
        InputError: images smaller than a window.
    """
    if min(images.shape[2:]) < side:
        raise InputError(f"SSIM has windows of {side} pixels, and images are {tuple(images.shape[2:])}")
    first, second = _clamped(images, truth), truth.double()
    places = torch.arange(side, dtype=torch.float64, device=first.device) - side // 2
    taps = torch.exp(-(places.square()) / (2 * deviation**2))
    taps = taps / taps.sum()
    channels = first.shape[1]
    window = (taps[:, None] * taps).expand(channels, 1, side, side)

    def mean(maps: Tensor) -> Tensor:
        return F.conv2d(maps, window, groups=channels)

    mean_first, mean_second = mean(first), mean(second)
    spread_first = mean(first.square()) - mean_first.square()
    spread_second = mean(second.square()) - mean_second.square()
    together = mean(first * second) - mean_first * mean_second
    above = (2 * mean_first * mean_second + 0.01**2) * (2 * together + 0.03**2)
    below = (mean_first.square() + mean_second.square() + 0.01**2) * (spread_first + spread_second + 0.03**2)
    return (above / below).flatten(1).mean(1)


def end_point_error(disparity: Tensor, truth: Tensor) -> Tensor:
    """Mean absolute error of disparities in pixels: (n, 1, h, w) → float64 (n,), where the truth is finite.

    Raises:
        InputError: other shapes.
    """
    error, known = _errors(disparity, truth)
    return error.sum(1) / known.sum(1)


def three_pixel_error(disparity: Tensor, truth: Tensor, *, limit: float = 3.0) -> Tensor:
    """Share of disparities that are off by more than ``limit`` pixels: (n, 1, h, w) → float64 (n,) in [0, 1]."""
    error, known = _errors(disparity, truth)
    return (error > limit).sum(1) / known.sum(1)


def _errors(disparity: Tensor, truth: Tensor) -> tuple[Tensor, Tensor]:
    if disparity.shape != truth.shape:
        raise InputError(f"disparities {tuple(disparity.shape)} and truth {tuple(truth.shape)} differ in shape")
    wide, known = truth.double().flatten(1), truth.isfinite().flatten(1)
    return torch.where(known, (disparity.double().flatten(1) - wide).abs(), 0.0), known


def _clamped(images: Tensor, truth: Tensor) -> Tensor:
    if images.shape != truth.shape or images.ndim != 4:
        raise InputError(f"images are (n, c, h, w) both; got {tuple(images.shape)} and {tuple(truth.shape)}")
    return images.double().clamp(0, 1)
