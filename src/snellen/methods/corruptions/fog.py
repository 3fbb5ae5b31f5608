"""Fog whose density is a plasma fractal."""

from __future__ import annotations

import torch
from torch import Tensor

from snellen.core.randomness import Randomness


def fog(images: Tensor, rng: Randomness, *, amount: float, decay: float) -> Tensor:
    """Add a plasma fractal and darken the sum to the range of the image: (n, 3, h, w) in [0, 1].

    (image + ``amount`` · fractal) · m / (m + ``amount``), m the image's largest value. The fractal fills the square
    whose side is the next power of two; the image lies in its upper left corner.

    Source: Hendrycks and Dietterich, arXiv 1903.12261, and their code.

    >>> fog(torch.rand(2, 3, 5, 7), Randomness(0).bind(2), amount=1.5, decay=2).shape
    torch.Size([2, 3, 5, 7])

    Args:
        images: (n, 3, h, w) in [0, 1].
        rng: bound to the n examples.
        amount: density of the thickest fog, in units of the image; 0 is no fog.
        decay: each octave of the fractal has 1 / ``decay``² times the amplitude of the last; 1.4 is ragged, 3 smooth.
    """
    height, width = images.shape[2:]
    side = 1 << (max(height, width) - 1).bit_length()
    density = plasma_fractal(rng.uniform("plasma", (side * side - 1,), -1, 1, like=images), decay)
    brightest = images.flatten(1).amax(1).view(-1, 1, 1, 1)
    foggy = torch.add(images, density[:, None, :height, :width], alpha=amount)
    # A black image stays black, whatever the amount.
    return foggy.mul_(brightest / (brightest + amount).clamp(min=1e-12)).clamp_(0, 1)


def plasma_fractal(draws: Tensor, decay: float) -> Tensor:
    """Height map of the diamond-square algorithm on a torus, stretched to [0, 1].

    Fournier, Fussell and Carpenter, "Computer rendering of stochastic models", CACM 25 (1982). From one point on, each
    octave doubles the side: the middle of each square is the mean of its corners, then the middle of each edge the mean
    of its four neighbours, each plus a draw scaled by the octave's amplitude.

    >>> plasma_fractal(torch.rand(2, 4**3 - 1), decay=2).shape
    torch.Size([2, 8, 8])

    Args:
        draws: (n, side² − 1), uniform in [−1, 1), side a power of two. From the coarsest octave to the finest; within
            one the middles of the squares, of the horizontal edges, of the vertical edges.
        decay: square root of the ratio of the amplitudes of one octave and the next.

    Returns:
        (n, side, side); zeros for the side 1, which has no heights to stretch.
    """
    count = len(draws)
    octaves = draws.shape[1].bit_length() // 2
    heights = draws.new_zeros(count, 1, 1)
    for octave in range(octaves):
        side, amplitude = 1 << octave, decay ** (-2 * octave)
        wibbles = draws[:, side * side - 1 : 4 * side * side - 1].view(count, 3, side, side)
        finer = draws.new_empty(count, 2 * side, 2 * side)
        rows = heights + heights.roll(-1, 2)
        columns = heights + heights.roll(-1, 1)
        centres = rows + rows.roll(-1, 1)
        centres.div_(4).add_(wibbles[:, 0], alpha=amplitude)
        rows.add_(centres).add_(centres.roll(1, 1)).div_(4).add_(wibbles[:, 1], alpha=amplitude)
        columns.add_(centres).add_(centres.roll(1, 2)).div_(4).add_(wibbles[:, 2], alpha=amplitude)
        finer[:, ::2, ::2], finer[:, 1::2, 1::2] = heights, centres
        finer[:, ::2, 1::2], finer[:, 1::2, ::2] = rows, columns
        heights = finer
    lowest, highest = torch.aminmax(heights.flatten(1), dim=1)
    span = (highest - lowest).clamp(min=1e-30).view(-1, 1, 1)
    return heights.sub_(lowest.view(-1, 1, 1)).div_(span)
