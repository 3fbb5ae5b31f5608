"""Smooth noise over a plane of any size, and the places at which it is asked.

Places are whole half pixels of level 0, so that the centre of a pixel of any level is exact however large the plane is.
Everything is added, multiplied, divided and rooted, which IEEE 754 rounds in one way only: a place has the same value
in every batch, in every region and on every machine.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from snellen.data.worlds.textures.torus import lattice_state, lattice_values, stream_state


@dataclass(frozen=True, kw_only=True)
class Region:
    """Pixels of one level, one rectangle for each of n planes.

    Args:
        seeds: of the planes, int64 (n,).
        rows: centres of pixels in half pixels of level 0, int64 (n, h, 1).
        columns: the same across, int64 (n, 1, w).
        pitch: distance of neighbouring pixels, in pixels of level 0.
    """

    seeds: Tensor
    rows: Tensor
    columns: Tensor
    pitch: int


def region_of(
    seeds: Tensor, *, level: int, tops: Sequence[int], lefts: Sequence[int], height: int, width: int
) -> Region:
    """Pixels of rectangles of one size, ``tops`` and ``lefts`` in pixels of the level.

    >>> region = region_of(torch.tensor([1]), level=1, tops=[3], lefts=[0], height=2, width=4)
    >>> region.rows.flatten().tolist()
    [14, 18]
    """
    pitch = 2**level
    rows = torch.tensor(list(tops))[:, None] + torch.arange(height)
    columns = torch.tensor(list(lefts))[:, None] + torch.arange(width)
    return Region(
        seeds=seeds,
        rows=((2 * rows + 1) * pitch)[:, :, None],
        columns=((2 * columns + 1) * pitch)[:, None],
        pitch=pitch,
    )


def plane_noise(seeds: Tensor, stream: str, rows: Tensor, columns: Tensor, spacing: tuple[int, int]) -> Tensor:
    """Value noise in [0, 1], float32, at places that broadcast to (n, h, w).

    Random values at the points of a lattice, joined by 3t² − 2t³.

    Args:
        seeds: int64 (n,).
        stream: name of the draw.
        rows: half pixels, int64 (n, h or 1, w or 1).
        columns: the same across.
        spacing: of the lattice down and across, pixels.
    """
    cell_row, down = cell_and_share(rows, spacing[0])
    cell_column, across = cell_and_share(columns, spacing[1])
    state = stream_state(seeds, stream)[:, None, None]
    upper, lower = lattice_state(state, cell_row), lattice_state(state, cell_row + 1)
    down, across = down * down * (3 - 2 * down), across * across * (3 - 2 * across)
    first, second = lattice_values(upper, cell_column), lattice_values(upper, cell_column + 1)
    top = first + (second - first) * across
    first, second = lattice_values(lower, cell_column), lattice_values(lower, cell_column + 1)
    bottom = first + (second - first) * across
    return top + (bottom - top) * down


def cell_and_share(places: Tensor, spacing: int) -> tuple[Tensor, Tensor]:
    """Number of the cell of each place (half pixels), and how far the place is through the cell, float32 in [0, 1)."""
    cells = torch.div(places, 2 * spacing, rounding_mode="floor")
    return cells, (places - cells * (2 * spacing)).to(torch.float32) / (2 * spacing)


def smooth_step(values: Tensor, low: float, high: float) -> Tensor:
    """0 up to ``low``, 1 from ``high`` on, 3t² − 2t³ between."""
    share = ((values - low) / (high - low)).clamp(0, 1)
    return share * share * (3 - 2 * share)
