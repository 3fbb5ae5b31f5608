"""Noise that is a function of a seed and a place: no state, the same in every batch, the same pattern at every size.

Integers are mixed by the 32-bit hash "lowbias32" (Wellons, "Prospecting for Hash Functions", 2018), which is in the
public domain; values come from its upper 24 bits, so that they are exact in float32.
"""

from __future__ import annotations

import hashlib
import math
from functools import cache

import torch
from torch import Tensor

from snellen.data.worlds.stable_arithmetic import blend, cosine, logarithm

_FIRST, _SECOND = 0x7FEB352D, 0x846CA68B - 2**32
_GOLDEN = 0x9E3779B9 - 2**32


def mixed(values: Tensor) -> Tensor:
    """Mix int32 values: equal values stay equal, neighbouring ones become unrelated."""
    values = values ^ ((values >> 16) & 0xFFFF)
    values = values * _FIRST
    values = values ^ ((values >> 15) & 0x1FFFF)
    values = values * _SECOND
    return values ^ ((values >> 16) & 0xFFFF)


def stream_seeds(seeds: Tensor, stream: str) -> Tensor:
    """Seeds of one stream, int32 (n,), of seeds int64 (n,)."""
    folded = (seeds ^ (seeds >> 32)).to(torch.int32)
    return mixed(folded ^ stream_key(stream))


@cache
def stream_key(stream: str) -> int:
    """A signed 32-bit number for the name of a stream."""
    return int.from_bytes(hashlib.blake2b(stream.encode(), digest_size=4).digest(), "big", signed=True)


def unit(hashes: Tensor) -> Tensor:
    """Values in [0, 1), float32, of mixed int32 values."""
    return ((hashes >> 8) & 0xFFFFFF).to(torch.float32) * 2.0**-24


def uniform(seeds: Tensor, stream: str, count: int) -> Tensor:
    """``count`` values in [0, 1) for each seed: float32 (n, count), of seeds int64 (n,).

    >>> both = uniform(torch.tensor([1, 2]), "phase", 3)
    >>> torch.equal(both[1], uniform(torch.tensor([2]), "phase", 3)[0])
    True
    """
    numbers = torch.arange(count, dtype=torch.int32) * _GOLDEN
    return unit(mixed(stream_seeds(seeds, stream)[:, None] ^ mixed(numbers)))


def cell_values(seeds: Tensor, stream: str, column: Tensor, row: Tensor) -> Tensor:
    """A value in [0, 1) for each cell of a lattice: float32 (n, h, w).

    Args:
        seeds: int64 (n,).
        stream: name of the draw.
        column: number of the cell along x, int32 (n or 1, h, w).
        row: number of the cell along y, of the same shape.
    """
    cells = mixed(column * _GOLDEN) ^ (row * _FIRST)
    return unit(mixed(stream_seeds(seeds, stream)[:, None, None] ^ cells))


def grain(seeds: Tensor, stream: str, height: int, width: int) -> Tensor:
    """White noise of pixels in [0, 1): float32 (n, height, width)."""
    rows = torch.arange(height, dtype=torch.int32)[None, :, None]
    columns = torch.arange(width, dtype=torch.int32)[None, None]
    return cell_values(seeds, stream, columns, rows)


def gaussian_grain(seeds: Tensor, stream: str, height: int, width: int) -> Tensor:
    """Standard normal noise of pixels, float32 (n, height, width), by the transform of Box and Muller."""
    radius = logarithm(1 - grain(seeds, f"{stream} radius", height, width)).mul_(-2).sqrt_()
    return radius * cosine(grain(seeds, f"{stream} angle", height, width).mul_(math.tau))


def smooth(seeds: Tensor, stream: str, size: int, cell_x: float, cell_y: float | None = None) -> Tensor:
    """Smooth noise in [0, 1] over an image that spans −1 to 1: float32 (n, size, size).

    Random values at the corners of cells, joined by 3t² − 2t³ ("value noise").

    Args:
        seeds: int64 (n,).
        stream: name of the draw.
        size: of the image, pixels.
        cell_x: width of a cell, in half sides of the image.
        cell_y: height of a cell; None means as wide.
    """
    across, to_right, share_x = _corners(size, cell_x)
    down, to_below, share_y = _corners(size, cell_y or cell_x)
    shape = (int(to_below[-1]) + 1, int(to_right[-1]) + 1)
    corners = grain(seeds, stream, *shape)
    rows = blend(corners[:, down], corners[:, to_below], share_y[None, :, None])
    return blend(rows[:, :, across], rows[:, :, to_right], share_x[None, None])


def _corners(size: int, cell: float) -> tuple[Tensor, Tensor, Tensor]:
    """Number of the corner before and after each pixel, and how far the pixel is between them."""
    place = (torch.arange(size, dtype=torch.float64) + 0.5) * (2 / size) / cell
    before = place.floor()
    share = place - before
    first = before.to(torch.int64)
    return first, first + 1, (share * share * (3 - 2 * share)).to(torch.float32)
