"""Motion blur: the mean along a line on one side of each pixel, with weights that fall as a Gaussian.

ImageMagick's ``MotionBlurImage``, which ImageNet-C uses (Hendrycks and Dietterich, arXiv 1903.12261, appendix B).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from snellen.core.randomness import Randomness
from snellen.methods.corruptions.borders import pad, replicate
from snellen.methods.corruptions.filters import SMALL_SIDE

#: Weights at the end of a line below this share of the sum are lost in the rounding of float32.
NEGLIGIBLE = 1e-9


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
    lines = [line_offsets(len(weights), angle) for angle in angles.tolist()]
    while weights[-1] < NEGLIGIBLE:
        weights.pop()
    if max(planes.shape[-2:]) <= SMALL_SIDE and len(planes):
        return _gathered(planes, weights, torch.tensor(lines, device=planes.device))
    height, width = planes.shape[-2:]
    blurred = torch.zeros_like(planes, memory_format=torch.contiguous_format)
    for image, target, offsets in zip(planes, blurred, lines, strict=True):
        merged: dict[tuple[int, int], float] = {}
        for weight, offset in zip(weights, offsets, strict=False):
            merged[offset] = merged.get(offset, 0.0) + weight
        downs, rights = [down for down, _ in merged], [right for _, right in merged]
        above, left = max(-min(downs), 0), max(-min(rights), 0)
        padded = pad(image, (above, max(*downs, 0)), (left, max(*rights, 0)), replicate)
        for (down, right), weight in merged.items():
            top, start = above + down, left + right
            target.add_(padded[:, top : top + height, start : start + width], alpha=weight)
    return blurred


def _gathered(planes: Tensor, weights: list[float], lines: Tensor) -> Tensor:
    """:func:`motion_filter` of a batch of small images at once, for offsets (n, ≥ taps, 2) along their lines."""
    count, channels, height, width = planes.shape
    lines = lines[:, : len(weights)]
    left, right = max(-int(lines[..., 1].min()), 0), max(int(lines[..., 1].max()), 0)
    padded = pad(planes, (0, 0), (left, right), replicate)
    wide = left + width + right
    # A row moved by any number of columns is a piece of memory that begins elsewhere.
    pieces = padded.as_strided((padded.numel() - width + 1, width), (1, 1))
    first = torch.arange(count * channels, device=planes.device).view(count, channels, 1) * (height * wide) + left
    rows = torch.arange(height, device=planes.device)
    blurred = planes.new_zeros(count * channels * height, width)
    for weight, moves in zip(weights, lines[:, :, None].unbind(1), strict=True):
        moved = (rows + moves[..., :1]).clamp_(0, height - 1).mul_(wide).add_(moves[..., 1:])  # (n, 1, h)
        blurred.add_(pieces.index_select(0, (first + moved).view(-1)), alpha=weight)
    return blurred.view(planes.shape)


def motion_blur(images: Tensor, rng: Randomness, *, radius: float, deviation: float) -> Tensor:
    """Motion blur in a direction drawn uniformly from (-45°, 45°): (n, 3, h, w) in [0, 1], lengths in pixels."""
    angles = rng.uniform("motion_blur", (), -45.0, 45.0)
    return motion_filter(images, angles, radius=radius, deviation=deviation).clamp_(0, 1)
