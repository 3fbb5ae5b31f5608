"""Images as numbers: checked, in eight bits, as luma, averaged over areas."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from snellen.core.errors import InputError

#: Smallest side of an image that is inspected, pixels.
SMALLEST_SIDE = 8

#: Weights of red, green and blue in luma (ITU-R BT.601).
LUMA_WEIGHTS = (0.299, 0.587, 0.114)


def eight_bits(images: Tensor) -> Tensor:
    """Check images and give them in eight bits: uint8 (n, 3, h, w); uint8 images come back as they are.

    >>> eight_bits(torch.full((1, 3, 8, 8), 0.5)).unique()
    tensor([128], dtype=torch.uint8)

    Args:
        images: uint8, or floating point in [0, 1], (n, 3, h, w) with sides of at least 8 pixels.

    Raises:
        InputError: another shape or type, or values outside the range.
    """
    if images.ndim != 4 or images.shape[1] != 3:
        raise InputError(f"expected images (n, 3, h, w), got {tuple(images.shape)}; repeat a grey channel three times")
    if min(images.shape[2:]) < SMALLEST_SIDE:
        size = f"{images.shape[2]} × {images.shape[3]}"
        raise InputError(f"images of {size} pixels are too small; each side needs at least {SMALLEST_SIDE}")
    if images.dtype == torch.uint8:
        return images
    if not images.is_floating_point():
        raise InputError(f"expected images of type uint8 or floating point, got {images.dtype}; convert them first")
    # Written so that NaN fails too.
    if not bool(((images >= 0) & (images <= 1)).all()):
        raise InputError("images of floating point must lie in [0, 1] and be finite; divide 8-bit values by 255")
    return (images.float() * 255).round().to(torch.uint8)


def unit_luma(images: Tensor) -> Tensor:
    """Luma of eight-bit images: uint8 (n, 3, h, w) → float64 (n, h, w) in [0, 1].

    >>> unit_luma(torch.full((1, 3, 8, 8), 51, dtype=torch.uint8)).unique().numpy().round(6)
    array([0.2])
    """
    red, green, blue = (weight / 255 * images[:, channel].double() for channel, weight in enumerate(LUMA_WEIGHTS))
    return (red + green + blue).clamp_(0, 1)


@lru_cache(maxsize=64)
def area_matrix(size: int, cells: int) -> Tensor:
    """Matrix that averages an axis over equal cells, shares of pixels included: float64 (cells, size), rows sum to 1.

    >>> area_matrix(3, 2)
    tensor([[0.6667, 0.3333, 0.0000],
            [0.0000, 0.3333, 0.6667]], dtype=torch.float64)
    """
    edges = torch.arange(cells + 1, dtype=torch.float64) * size / cells
    pixels = torch.arange(size, dtype=torch.float64)
    ends = torch.minimum(edges[1:, None], pixels + 1)
    covered = (ends - torch.maximum(edges[:-1, None], pixels)).clamp(min=0)
    return covered / covered.sum(1, keepdim=True)


def area_means(planes: Tensor, rows: int, columns: int) -> Tensor:
    """Means of planes over a grid of equal cells: floating point (…, h, w) → (…, rows, columns).

    >>> area_means(torch.arange(4.0).reshape(1, 2, 2), 1, 2)
    tensor([[[1., 2.]]])
    """
    above = area_matrix(planes.shape[-2], rows).to(planes)
    beside = area_matrix(planes.shape[-1], columns).to(planes)
    return above @ planes @ beside.T


def deviation(planes: Tensor) -> Tensor:
    """Standard deviation of each plane, over all its pixels: (n, h, w) → (n); no planes are allowed.

    >>> deviation(torch.tensor([[[0.0, 2.0]]]))
    tensor([1.])
    """
    return (planes - planes.mean((1, 2), keepdim=True)).square().mean((1, 2)).sqrt()
