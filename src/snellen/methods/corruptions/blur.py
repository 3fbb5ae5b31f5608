"""Gaussian blurs: by a standard deviation (ImageNet-C) and by the size of the kernel (MedMNIST-C)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from snellen.core.randomness import Randomness
from snellen.methods.corruptions.borders import reflect_101
from snellen.methods.corruptions.filters import filter_matrix, gaussian_filter, separable_filter


def gaussian_blur(images: Tensor, rng: Randomness, *, deviation: float) -> Tensor:
    """Gaussian blur, edges repeated: (n, 3, h, w) in [0, 1], deviation in pixels; draws nothing.

    Kernel and border of ``skimage.filters.gaussian``, which ImageNet-C uses (arXiv 1903.12261, appendix B).
    """
    return gaussian_filter(images, deviation).clamp_(0, 1)


def sized_kernel(size: float) -> Tensor:
    """Gaussian kernel of a given size: float64 (next odd number from ``size`` on), sum 1.

    The deviation is OpenCV's 0.3 · ((size - 1) / 2 - 1) + 0.8. Between two odd sizes the outermost weights are taken
    in part, so that the blur grows with the size without jumps; size 1 and below is the identity.

    >>> sized_kernel(3)
    tensor([0.2390, 0.5220, 0.2390], dtype=torch.float64)
    >>> sized_kernel(2)
    tensor([0.1172, 0.7656, 0.1172], dtype=torch.float64)
    """
    radius = max(math.ceil((size - 1) / 2), 0)
    deviation = 0.3 * ((size - 1) * 0.5 - 1) + 0.8
    offsets = torch.arange(-radius, radius + 1, dtype=torch.float64)
    kernel = torch.exp(-0.5 * (offsets / deviation) ** 2) if radius else torch.ones(1, dtype=torch.float64)
    kernel *= ((size + 1) / 2 - offsets.abs()).clamp_(max=1) if radius else 1.0
    return kernel / kernel.sum()


def kernel_blur(images: Tensor, rng: Randomness, *, kernel: float) -> Tensor:
    """Gaussian blur by kernel size in pixels, mirrored at the edge pixel: (n, 3, h, w) in [0, 1]; draws nothing.

    torchvision's ``gaussian_blur`` as MedMNIST-C calls it (arXiv 2406.17536), for odd sizes; unlike there the kernel
    may be wider than the image.
    """
    weights = sized_kernel(kernel)
    vertical, horizontal = (filter_matrix(side, weights, reflect_101) for side in images.shape[-2:])
    return separable_filter(images, vertical, horizontal).clamp_(0, 1)
