"""Blurs: Gaussian, out of focus, along the way of a camera that moves, and by its zoom.

Hendrycks and Dietterich, arXiv 1903.12261, appendix B; motion is ImageMagick's ``MotionBlurImage``, as there.
MedMNIST-C uses some of them with other strengths.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from snellen.core.errors import InputError
from snellen.core.randomness import Randomness
from snellen.methods.corruptions.filters import (
    SMALL_SIDE,
    Block,
    blocks,
    filter_matrix,
    fourier_filter,
    gaussian_filter,
    in_parts,
    pad,
    reflect_101,
    replicate,
    separable_filter,
)


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


def central_zoom(planes: Tensor, factor: float) -> Tensor:
    """Enlarge the centre to the size of the plane: (n, c, h, w), factor ≥ 1 → a new tensor (n, c, h, w).

    ``scipy.ndimage.zoom`` of order 1: the corners of crop and result coincide, what is left over is trimmed on both
    sides. Each axis has its own crop, so that images need not be square.
    """
    height, width = planes.shape[-2:]
    (top, rows, tall), (left, columns, wide) = _crop(height, factor), _crop(width, factor)
    crop = planes[:, :, top : top + rows, left : left + columns]
    zoomed = F.interpolate(crop, size=(tall, wide), mode="bilinear", align_corners=True)
    above, before = (tall - height) // 2, (wide - width) // 2
    return zoomed[:, :, above : above + height, before : before + width].clone(memory_format=torch.contiguous_format)


def zoom_matrix(side: int, factor: float) -> Tensor:
    """Matrix of :func:`central_zoom` along one axis: float64 (side, side), two entries a row.

    >>> zoom_matrix(4, 2.0)
    tensor([[0.0000, 1.0000, 0.0000, 0.0000],
            [0.0000, 0.6667, 0.3333, 0.0000],
            [0.0000, 0.3333, 0.6667, 0.0000],
            [0.0000, 0.0000, 1.0000, 0.0000]], dtype=torch.float64)
    """
    first, cropped, enlarged = _crop(side, factor)
    places = torch.arange(enlarged, dtype=torch.float64) * ((cropped - 1) / max(enlarged - 1, 1))
    lower = places.long().clamp_(0, max(cropped - 2, 0))
    share = (places - lower)[:, None]
    upper = (lower + 1).clamp_(max=cropped - 1)
    matrix = torch.zeros(enlarged, side, dtype=torch.float64)
    matrix.scatter_add_(1, first + lower[:, None], 1 - share).scatter_add_(1, first + upper[:, None], share)
    trimmed = (enlarged - side) // 2
    return matrix[trimmed : trimmed + side]


def zoom_blur(images: Tensor, rng: Randomness, *, end: float, step: float) -> Tensor:
    """Mean of the images and their zooms by 1, 1 + step … below ``end``: (n, 3, h, w) in [0, 1]; draws nothing.

    As published, the image itself is counted twice: once as such and once as the zoom by 1.
    """
    if step <= 0:
        raise InputError(f"the step between zooms must be positive, got {step!r}")
    # The published range is NumPy's, whose rounding decides whether the end itself belongs to it.
    factors = np.arange(1, end, step).tolist()[1:]
    count, channels, height, width = images.shape
    blurred = images.new_empty(count * channels, height, width)
    beside = [_zoom_blocks(width, factor, images.dtype, images.device) for factor in factors]
    for part, target in in_parts(images.reshape(count * channels, height, width), blurred):
        # Rows first: a row of all planes is one long vector, which the vertical interpolation takes as channels.
        rows_first = part.transpose(0, 1).contiguous()
        total = rows_first * 2
        flat = total.view(-1, width)
        for factor, horizontal in zip(factors, beside, strict=True):
            tall = _zoom_rows(rows_first.view(height, -1), factor).view(-1, width)
            for columns, sources, block in horizontal:
                flat[:, columns].addmm_(tall[:, sources], block.T)
        target.copy_(total.transpose(0, 1))
    return blurred.view_as(images).div_(len(factors) + 2).clamp_(0, 1)


@lru_cache(maxsize=256)
def _zoom_blocks(side: int, factor: float, dtype: torch.dtype, device: torch.device) -> list[Block]:
    """Blocks of a zoom's matrix, kept for the next batch."""
    # Bands of zooms are thin, so that smaller blocks than those of a filter save more than they cost.
    return blocks(zoom_matrix(side, factor), like=torch.empty((), dtype=dtype, device=device), rows=32)


def _zoom_rows(rows: Tensor, factor: float) -> Tensor:
    """Zoom along the first axis alone: (h, k) → (h, k)."""
    first, cropped, enlarged = _crop(len(rows), factor)
    channels_last = rows[first : first + cropped].view(1, cropped, 1, -1).permute(0, 3, 1, 2)
    zoomed = F.interpolate(channels_last, size=(enlarged, 1), mode="bilinear", align_corners=True)
    trimmed = (enlarged - len(rows)) // 2
    return zoomed.permute(0, 2, 3, 1).reshape(enlarged, -1)[trimmed : trimmed + len(rows)]


def _crop(side: int, factor: float) -> tuple[int, int, int]:
    """First pixel and size of the central crop of a side, and the size that it is enlarged to."""
    if not factor >= 1:
        raise InputError(f"an image is enlarged by a factor of at least 1, got {factor!r}")
    cropped = math.ceil(side / factor)
    return (side - cropped) // 2, cropped, round(cropped * factor)
