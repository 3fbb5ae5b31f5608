"""A slide before any pixel of it: smooth noise, what the glass carries where, and which tiles carry tumour.

Places are whole half pixels of level 0, so that the centre of a pixel of any level is exact however large the plane is.
Everything is added, multiplied, divided and rooted, which IEEE 754 rounds in one way only: a place has the same value
in every batch, in every region and on every machine.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from snellen.data.worlds.textures.patterns import byte_values, lattice_state, lattice_values, seed_values, stream_state


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


#: Distance of glands, pixels of level 0.
GLAND_SPACING = 88

#: Where a gland's lumen ends, in radii of the gland.
LUMEN = 0.42

_PIECES = 2


@dataclass(frozen=True, kw_only=True)
class Tissue:
    """Tissue at some places, each float32 (n, h, w).

    Args:
        covered: share of the place that is tissue, in [0, 1].
        gland: distance from the nearest gland's centre in radii of the gland; large where there is none.
        crowded: 1 in a patch of lymphocytes, 0 outside.
    """

    covered: Tensor
    gland: Tensor
    crowded: Tensor

    @property
    def epithelium(self) -> Tensor:
        """1 in the wall of a gland, 0 outside."""
        return smooth_step(self.gland, LUMEN, LUMEN + 0.08) * (1 - smooth_step(self.gland, 0.94, 1.06))

    @property
    def lumen(self) -> Tensor:
        """1 in the hollow of a gland, 0 outside."""
        return 1 - smooth_step(self.gland, LUMEN - 0.04, LUMEN + 0.04)


def tissue_at(seeds: Tensor, rows: Tensor, columns: Tensor, *, side: int, pitch: int) -> Tissue:
    """What lies at places, which broadcast to (n, h, w).

    Args:
        seeds: of the slides, int64 (n,).
        rows: half pixels of level 0, int64.
        columns: the same across.
        side: of the slides, pixels of level 0.
        pitch: size of a place, pixels of level 0.
    """
    inside = outline(seeds, rows, columns, side=side) * (0.3 * side)
    patches = plane_noise(seeds, "lymphocytes", rows, columns, (72, 72))
    return Tissue(
        covered=(0.5 + inside / max(pitch, 2)).clamp(0, 1),
        gland=_glands(seeds, rows, columns),
        crowded=smooth_step(patches, 0.72, 0.78),
    )


def outline(seeds: Tensor, rows: Tensor, columns: Tensor, *, side: int) -> Tensor:
    """Above 0 in tissue and below 0 on bare glass, float32 (n, h, w); about the distance to the border over 0.3 sides.

    One or two ellipses whose border is roughened by noise; none touches the border of the slide.
    """
    down, across = rows.to(torch.float32) / (2 * side), columns.to(torch.float32) / (2 * side)
    drawn = seed_values(seeds, "pieces of tissue", 5 * _PIECES).reshape(-1, _PIECES, 5)[:, :, :, None, None]
    depth = None
    for piece in range(_PIECES):
        centre_row, centre_column, tall, wide, there = drawn[:, piece].unbind(1)
        y = (down - (0.3 + 0.4 * centre_row)) / (0.22 + 0.16 * tall)
        x = (across - (0.3 + 0.4 * centre_column)) / (0.22 + 0.16 * wide)
        found = 1 - (y * y + x * x).sqrt() - (2.0 if piece else 0.0) * (there < 0.35)
        depth = found if depth is None else torch.maximum(depth, found)
    assert depth is not None
    for share, (parts, amplitude) in enumerate(((5, 0.6), (13, 0.3), (41, 0.1))):
        spacing = max(side // parts, 2)
        noise = plane_noise(seeds, f"border of tissue {share}", rows, columns, (spacing, spacing))
        depth = depth + amplitude * (noise - 0.5)
    # Tissue thins out away from the middle, so that it does not end in the straight line of the slide's border.
    y, x = down - 0.5, across - 0.5
    depth = depth - 8 * ((y * y + x * x).sqrt() - 0.3).clamp(min=0)
    margin = torch.minimum(torch.minimum(down, 1 - down), torch.minimum(across, 1 - across))
    return torch.minimum(depth, 6 * margin - 0.1)


def _glands(seeds: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    spacing = GLAND_SPACING
    first_row = torch.div(rows - spacing, 2 * spacing, rounding_mode="floor")
    first_column = torch.div(columns - spacing, 2 * spacing, rounding_mode="floor")
    state = stream_state(seeds, "glands")[:, None, None]
    nearest: Tensor | None = None
    for row in (first_row, first_row + 1):
        down = (rows - row * (2 * spacing)).to(torch.float32) / 2
        row_state = lattice_state(state, row)
        for column in (first_column, first_column + 1):
            across = (columns - column * (2 * spacing)).to(torch.float32) / 2
            jitter_row, jitter_column, size, there = byte_values(lattice_state(row_state, column))
            y, x = down - spacing * (0.32 + 0.36 * jitter_row), across - spacing * (0.32 + 0.36 * jitter_column)
            distance = (y * y + x * x).sqrt() / (24 + 14 * size) + 9 * (there > 0.72)
            nearest = distance if nearest is None else torch.minimum(nearest, distance)
    assert nearest is not None
    rough = plane_noise(seeds, "walls of glands", rows, columns, (22, 22)) - 0.5
    rare = plane_noise(seeds, "regions of glands", rows, columns, (410, 410))
    return nearest * (1 + 0.5 * rough) + 9 * smooth_step(rare, 0.52, 0.6)


#: Microns per pixel of level 0: what a lens of ten times shows.
MICRONS_PER_PIXEL = 1.0

#: Rows of tiles whose outline is computed together.
_CHUNK = 64


@dataclass(frozen=True, kw_only=True, eq=False)
class Slide:
    """Everything that the pixels of a slide follow from; memory: 2 bytes for each tile.

    Args:
        id: such as "test/slide-0003".
        patient: such as "test/patient-0001".
        site: such as "site-2".
        label: 1 when some tile carries tumour, otherwise 0.
        seed: of everything drawn on the slide.
        tile_size: side of a tile, pixels of level 0.
        stains: float32 (3, 3), of :func:`snellen.data.worlds.slides.rendering.stains_of`.
        tissue: which tiles are tissue, bool (r, r).
        positive: which tiles carry tumour, bool (r, r).
    """

    id: str
    patient: str
    site: str
    label: int
    seed: int
    tile_size: int
    stains: NDArray[np.float32]
    tissue: NDArray[np.bool_]
    positive: NDArray[np.bool_]

    @property
    def side(self) -> int:
        """Pixels of level 0 along each side."""
        return len(self.tissue) * self.tile_size


def tissue_tiles(seed: int, *, tiles_across: int, tile_size: int) -> NDArray[np.bool_]:
    """Tiles with at least half tissue, bool (r, r), judged at 16 places of each.

    A slide has at least one: the tile that is deepest in the tissue.
    """
    side = tiles_across * tile_size
    seeds = torch.tensor([seed])
    # Odd eighths of a tile, in half pixels; tiles are multiples of 16 pixels.
    places = (torch.arange(tiles_across)[:, None] * 2 + torch.tensor([0.25, 0.75, 1.25, 1.75])).flatten() * tile_size
    columns = places.to(torch.int64)[None, None]
    depth = np.concatenate(
        [
            outline(seeds, rows[None, :, None], columns, side=side)[0].numpy()
            for rows in places.to(torch.int64).split(4 * _CHUNK)
        ]
    )
    parts = depth.reshape(tiles_across, 4, tiles_across, 4)
    found: NDArray[np.bool_] = (parts > 0).sum((1, 3)) >= 8
    found.flat[int(parts.min((1, 3)).argmax())] = True
    return found


def positive_tiles(seed: int, tissue: NDArray[np.bool_], *, rate: float) -> NDArray[np.bool_]:
    """Tiles that carry tumour, bool (r, r): a share ``rate`` of the tissue to the nearest tile, and at least one.

    They gather in foci: the tiles where smooth noise with some noise of single tiles is highest.

    >>> tissue = np.ones((20, 20), dtype=bool)
    >>> int(positive_tiles(3, tissue, rate=0.1).sum())
    40
    """
    seeds = torch.tensor([seed])
    across = torch.arange(len(tissue))
    foci = plane_noise(seeds, "foci", 2 * across[None, :, None], 2 * across[None, None], (4, 4))[0]
    single = lattice_values(stream_state(seeds, "single tiles")[:, None], across[:, None], across[None])
    wanted = (foci + 0.6 * single).numpy().astype(np.float64)
    wanted[~tissue] = -1.0
    count = max(1, round(rate * int(tissue.sum())))
    chosen = np.zeros(tissue.size, dtype=bool)
    chosen[np.argsort(-wanted, axis=None, kind="stable")[:count]] = True
    return chosen.reshape(tissue.shape)
