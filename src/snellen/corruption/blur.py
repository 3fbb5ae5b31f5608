"""Blurs as separable convolutions."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def gaussian_blur(images: Tensor, deviation: float, truncate: float = 4.0) -> Tensor:
    """Gaussian blur with edges repeated: (n, c, h, w), deviation in pixels; the kernel ends at ``truncate`` deviations.

    The kernel and border of ``skimage.filters.gaussian``, which ImageNet-C uses.
    """
    radius = int(truncate * deviation + 0.5)
    if radius == 0:
        return images.clone()
    offsets = torch.arange(-radius, radius + 1, dtype=torch.float64)
    kernel = torch.exp(-0.5 * (offsets / deviation) ** 2)
    kernel = (kernel / kernel.sum()).to(images)
    count, channels, height, width = images.shape
    planes = images.reshape(count * channels, 1, height, width)
    # Repeating edges as often as needed also covers kernels wider than the image.
    planes = F.conv2d(F.pad(planes, (radius, radius, 0, 0), mode="replicate"), kernel.view(1, 1, 1, -1))
    planes = F.conv2d(F.pad(planes, (0, 0, radius, radius), mode="replicate"), kernel.view(1, 1, -1, 1))
    return planes.view(count, channels, height, width).clamp_(0, 1)
