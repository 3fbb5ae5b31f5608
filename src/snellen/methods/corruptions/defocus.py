"""Defocus blur: every point becomes a disk, the image of the aperture.

Hendrycks and Dietterich, arXiv 1903.12261, appendix B; MedMNIST-C uses it with other strengths.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from snellen.core.randomness import Randomness
from snellen.methods.corruptions.borders import reflect_101
from snellen.methods.corruptions.filters import filter_matrix, fourier_filter


def disk(radius: float, alias: float) -> Tensor:
    """Disk whose edge is smoothed by a small Gaussian: float64 (k, k); radius and deviation in pixels.

    Up to radius 8 the grid is 17 × 17 and the Gaussian 3 × 3, beyond that the grid ends at the radius and the Gaussian
    is 5 × 5. The Gaussian takes what is beyond the grid from its mirror image (OpenCV's border). Where the disk touches
    the end of the grid, as at the published radii 8 and 10, the sum is therefore 1.01 and not 1: the published one.

    >>> [round(float(disk(radius, 0.5).sum()), 3) for radius in (4, 8, 10)]
    [1.0, 1.013, 1.011]
    """
    reach, half = (8, 1) if radius <= 8 else (math.ceil(radius), 2)
    squares = torch.arange(-reach, reach + 1, dtype=torch.float64) ** 2
    filled = (squares[:, None] + squares <= radius**2).double()
    filled /= filled.sum()
    if alias <= 0:
        return filled
    offsets = torch.arange(-half, half + 1, dtype=torch.float64)
    kernel = torch.exp(-0.5 * (offsets / alias) ** 2)
    smoothing = filter_matrix(2 * reach + 1, kernel / kernel.sum(), reflect_101)
    return smoothing @ filled @ smoothing.T


def defocus_blur(images: Tensor, rng: Randomness, *, radius: float, alias: float) -> Tensor:
    """Average over a disk around each pixel, mirrored at the edge pixel: (n, 3, h, w) in [0, 1]; draws nothing.

    ``radius`` of the disk and ``alias``, the deviation of the Gaussian that smooths its edge, in pixels; both 0 is the
    identity.
    """
    return fourier_filter(images, disk(radius, alias)).clamp_(0, 1)
