"""Zoom blur: the mean of an image and its enlargements about the centre, a camera that moves while it exposes.

Hendrycks and Dietterich, arXiv 1903.12261, appendix B.
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
from snellen.methods.corruptions.filters import Block, blocks, in_parts


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
