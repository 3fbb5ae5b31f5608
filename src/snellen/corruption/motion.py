"""Motion blur: the mean along a line on one side of each pixel, with weights that fall as a Gaussian.

ImageMagick's ``MotionBlurImage``, which ImageNet-C uses (Hendrycks and Dietterich, arXiv 1903.12261, appendix B).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from snellen.corruption.borders import pad, replicate
from snellen.randomness import Randomness


def motion_kernel(radius: float, deviation: float) -> Tensor:
    """Weights of 0, 1, 2 … pixels along the line: float64 (taps), taps ≤ 2 · radius + 1 rounded up, sum 1.

    ImageMagick takes whole radii. Between two widths the last weight is taken in part, so that the blur grows with the
    radius without jumps; at whole radii this is its kernel.

    >>> motion_kernel(0.25, 1.0)
    tensor([0.7673, 0.2327], dtype=torch.float64)
    """
    width = 2 * radius + 1
    steps = torch.arange(math.ceil(width), dtype=torch.float64)
    weights = torch.exp(-0.5 * (steps / deviation) ** 2) if deviation > 0 else (steps == 0).double()
    weights *= (width - steps).clamp_(max=1)
    return weights / weights.sum()


def line_offsets(taps: int, angle: float) -> list[tuple[int, int]]:
    """Pixel offsets (down, right) along a line at an angle in degrees, 0 to the right, growing clockwise.

    >>> line_offsets(3, 45.0)
    [(0, 0), (1, 1), (1, 1)]
    """
    # ImageMagick's rounding (half goes down) and its order of operations, which decides ties such as that of 30°.
    down, right = taps * math.sin(math.radians(angle)), taps * math.cos(math.radians(angle))
    length = math.hypot(down, right)
    return [(math.ceil(step * down / length - 0.5), math.ceil(step * right / length - 0.5)) for step in range(taps)]


def motion_filter(planes: Tensor, angles: Tensor, *, radius: float, deviation: float) -> Tensor:
    """Blur each image along its own angle, edges repeated: (n, c, h, w), (n,) in degrees → a new tensor, unclamped.

    ``radius`` and ``deviation`` in pixels; any angle. Equal to ImageMagick 7.1.1 at the published strengths up to its
    truncation to whole bytes, and to the ``imagecorruptions`` package up to 1e-6 where that does not end the line at
    the size of the image.
    """
    weights = motion_kernel(radius, deviation).tolist()
    height, width = planes.shape[-2:]
    blurred = torch.zeros_like(planes, memory_format=torch.contiguous_format)
    for number, angle in enumerate(angles.tolist()):
        image, target = planes[number], blurred[number]
        offsets = line_offsets(len(weights), angle)
        downs, rights = [down for down, _ in offsets], [right for _, right in offsets]
        above, left = max(-min(downs), 0), max(-min(rights), 0)
        padded = pad(image, (above, max(*downs, 0)), (left, max(*rights, 0)), replicate)
        for weight, (down, right) in zip(weights, offsets, strict=True):
            top, start = above + down, left + right
            target.add_(padded[:, top : top + height, start : start + width], alpha=weight)
    return blurred


def motion_blur(images: Tensor, rng: Randomness, *, radius: float, deviation: float) -> Tensor:
    """Motion blur in a direction drawn uniformly from (-45°, 45°): (n, 3, h, w) in [0, 1], lengths in pixels."""
    angles = rng.uniform("motion_blur", (), -45.0, 45.0)
    return motion_filter(images, angles, radius=radius, deviation=deviation).clamp_(0, 1)
