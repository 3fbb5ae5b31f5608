"""Nuclei: round or spindles in healthy tissue, large, dark, irregular and crowded in clusters of tumour."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from snellen.data.worlds.slides.plan import LUMEN, Region, Tissue, plane_noise, tissue_at
from snellen.data.worlds.textures.patterns import byte_values, lattice_state, stream_state

#: Distance of healthy nuclei, pixels of level 0.
SPACING = 10

#: From this pitch on, nuclei are smaller than a pixel, and only their mean is shown.
COARSE_PITCH = 8


def nuclear_dye(region: Region, tissue: Tissue, *, side: int) -> Tensor:
    """Haematoxylin of the nuclei, float32 (n, h, w), at least 0.

    Args:
        region: pixels.
        tissue: what lies at these pixels.
        side: of the slides, pixels of level 0.
    """
    share = detail_share(region.pitch)
    chance, radius, elongation, darkness = _habit(tissue)
    mean = chance * radius * radius * elongation * (3.1416 / SPACING**2) * darkness
    return mean if share == 0 else share * _drawn_nuclei(region, side) + (1 - share) * mean


def detail_share(pitch: int) -> float:
    """How much single nuclei are shown at a pitch, and not their mean.

    >>> [detail_share(pitch) for pitch in (1, 2, 4, 8, 16)]
    [1.0, 1.0, 0.5, 0.0, 0.0]
    """
    return 0.0 if pitch >= COARSE_PITCH else min(1.0, 2 / pitch)


def _habit(tissue: Tissue) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Chance, lesser radius in pixels, elongation and darkness of nuclei in a tissue."""
    wall = ((tissue.gland > LUMEN) & (tissue.gland < 1)).to(torch.float32)
    between = (tissue.gland >= 1).to(torch.float32)
    crowd = tissue.crowded * between
    plain = between - crowd
    chance = (tissue.covered > 0.5) * (0.92 * wall + 0.36 * plain + 0.94 * crowd)
    radius = 3.1 * wall + 1.9 * plain + 3.0 * crowd + 2 * (1 - wall - between)
    elongation = 1.25 * wall + 2.1 * plain + 1.05 * crowd + (1 - wall - between)
    darkness = 0.95 * wall + 1.05 * plain + 1.45 * crowd
    return chance, radius, elongation, darkness


def _drawn_nuclei(region: Region, side: int) -> Tensor:
    rows = torch.div(region.rows - SPACING, 2 * SPACING, rounding_mode="floor")
    columns = torch.div(region.columns - SPACING, 2 * SPACING, rounding_mode="floor")
    top, left = rows[:, :1], columns[:, :, :1]
    table = _healthy_nuclei(
        region.seeds,
        top + torch.arange(int((rows - top).max()) + 2)[None, :, None],
        left + torch.arange(int((columns - left).max()) + 2)[None, None],
        side,
    )
    dye: Tensor | None = None
    rough = plane_noise(region.seeds, "outlines of nuclei", region.rows, region.columns, (3, 3)) - 0.5
    for row in (rows, rows + 1):
        down = (region.rows - row * (2 * SPACING)).to(torch.float32) / 2
        for column in (columns, columns + 1):
            across = (region.columns - column * (2 * SPACING)).to(torch.float32) / 2
            nucleus = gathered(table, row - top, column - left)
            distance, radius, darkness = nucleus_distance(nucleus, down, across)
            covered = (0.5 + (1 - distance + 0.3 * rough) * radius / region.pitch).clamp(0, 1) * darkness
            dye = covered if dye is None else torch.maximum(dye, covered)
    assert dye is not None
    grain = plane_noise(region.seeds, "chromatin", region.rows, region.columns, (2, 2))
    return dye * (1 + (0.5 * (grain - 0.5) if region.pitch == 1 else 0))


def _healthy_nuclei(seeds: Tensor, rows: Tensor, columns: Tensor, side: int) -> Tensor:
    """Nuclei of cells of the lattice: float32 (n, 7, l, m), see :func:`nucleus_distance`."""
    state = lattice_state(stream_state(seeds, "nuclei")[:, None, None], rows, columns)
    jitter_row, jitter_column, chance, size = byte_values(state)
    turn, dark, long, _ = byte_values(lattice_state(state, torch.ones((), dtype=torch.int32)))
    centre_row, centre_column = SPACING * (0.12 + 0.76 * jitter_row), SPACING * (0.12 + 0.76 * jitter_column)
    places = (2 * SPACING * rows + (2 * centre_row).to(torch.int64), 2 * SPACING * columns + (2 * centre_column).long())
    likely, radius, elongation, darkness = _habit(tissue_at(seeds, *places, side=side, pitch=1))
    radius = radius * (0.85 + 0.3 * size)
    along = radius * (1 + (elongation - 1) * (0.5 + long))
    across_row, across_column = unit_vector(turn)
    there = (chance < likely) * darkness * (0.8 + 0.4 * dark)
    return torch.stack([centre_row, centre_column, radius, along, across_row, across_column, there], 1)


def nucleus_distance(nucleus: Tensor, down: Tensor, across: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Distance of places from the centres of ellipses in radii, lesser radius, and darkness: float32 (n, h, w) each.

    Args:
        nucleus: float32 (n, 7, h, w): row and column of the centre, lesser and greater radius, direction of the
            greater one (row, column), darkness (0 where there is no nucleus).
        down: row of the place, pixels.
        across: column of the place, pixels.
    """
    centre_row, centre_column, lesser, greater, direction_row, direction_column, darkness = nucleus.unbind(1)
    y, x = down - centre_row, across - centre_column
    along, aside = y * direction_row + x * direction_column, x * direction_row - y * direction_column
    along, aside = along / greater, aside / lesser
    return (along * along + aside * aside).sqrt(), lesser, darkness


def gathered(table: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Entries of tables (n, p, l, m) at rows (n, h, 1) and columns (n, 1, w): (n, p, h, w)."""
    count, values, _, across = table.shape
    places = rows * across + columns
    flat = places.reshape(count, 1, -1).expand(-1, values, -1)
    return table.flatten(2).gather(2, flat).reshape(count, values, *places.shape[1:])


def unit_vector(turn: Tensor) -> tuple[Tensor, Tensor]:
    """Directions (row, column) of the half circle for numbers in [0, 1): 2t/(1 + t²) and (1 − t²)/(1 + t²)."""
    slope = 2 * turn - 1
    slope = slope * (0.8 + 0.2 * slope * slope)
    squared = slope * slope
    return 2 * slope / (1 + squared), (1 - squared) / (1 + squared)


#: Pixels between the lattice of nuclei and the border of the tile, so that no nucleus crosses it.
MARGIN = 8

#: Least distance of diseased nuclei, pixels of level 0.
CLUSTER_SPACING = 10


@dataclass(frozen=True, kw_only=True)
class Tumour:
    """A layer of diseased cells, each float32 (n, h, w) in [0, 1].

    Args:
        cells: cover by bodies of cells, which hide what lies below.
        nuclei: cover by nuclei.
        dye: haematoxylin of the nuclei; 0 where there are none.
    """

    cells: Tensor
    nuclei: Tensor
    dye: Tensor


def tumour_at(region: Region, positive: Tensor, first_row: Tensor, first_column: Tensor, *, tile: int) -> Tumour:
    """Diseased cells in a region.

    Args:
        region: pixels, which lie in the tiles given.
        positive: which tiles carry a cluster, bool (n, r, c).
        first_row: row of the first of these tiles, int64 (n,).
        first_column: column of the first of these tiles, int64 (n,).
        tile: side of a tile, pixels of level 0.
    """
    tile_row = torch.div(region.rows, 2 * tile, rounding_mode="floor")
    tile_column = torch.div(region.columns, 2 * tile, rounding_mode="floor")
    down = (region.rows - tile_row * (2 * tile)).to(torch.float32) / 2
    across = (region.columns - tile_column * (2 * tile)).to(torch.float32) / 2
    rows = first_row[:, None, None] + torch.arange(positive.shape[1])[None, :, None]
    columns = first_column[:, None, None] + torch.arange(positive.shape[2])[None, None]
    clusters = _clusters(region.seeds, rows, columns, positive, tile)
    places = tile_row - first_row[:, None, None], tile_column - first_column[:, None, None]
    centre_row, centre_column, radius, there = gathered(clusters, *places).unbind(1)
    share = detail_share(region.pitch)
    y, x = down - centre_row, across - centre_column
    coarse = (0.5 + (radius - (y * y + x * x).sqrt()) / region.pitch).clamp(0, 1) * there
    tumour = Tumour(cells=0.85 * coarse, nuclei=0.5 * coarse, dye=0.5 * 1.5 * coarse)
    if share == 0:
        return tumour
    fine = _drawn(region, clusters, rows, columns, places, (down, across), tile)
    return Tumour(
        cells=share * fine.cells + (1 - share) * tumour.cells,
        nuclei=share * fine.nuclei + (1 - share) * tumour.nuclei,
        dye=share * fine.dye + (1 - share) * tumour.dye,
    )


def _clusters(seeds: Tensor, rows: Tensor, columns: Tensor, positive: Tensor, tile: int) -> Tensor:
    """Row, column and radius of the cluster of each tile in pixels of the tile, and whether there is one."""
    row, column, size, _ = byte_values(lattice_state(stream_state(seeds, "clusters")[:, None, None], rows, columns))
    inner = tile - 2 * MARGIN
    return torch.stack(
        [
            MARGIN + inner * (0.25 + 0.5 * row),
            MARGIN + inner * (0.25 + 0.5 * column),
            inner * (0.28 + 0.16 * size),
            positive.to(torch.float32),
        ],
        1,
    )


def _drawn(
    region: Region,
    clusters: Tensor,
    rows: Tensor,
    columns: Tensor,
    places: tuple[Tensor, Tensor],
    local: tuple[Tensor, Tensor],
    tile: int,
) -> Tumour:
    inner = tile - 2 * MARGIN
    parts = inner // CLUSTER_SPACING
    step = inner / parts
    table = _nuclei(region.seeds, clusters, rows, columns, parts, step)
    first_row = ((local[0] - MARGIN) / step - 0.5).floor()
    first_column = ((local[1] - MARGIN) / step - 0.5).floor()
    rough = plane_noise(region.seeds, "outlines of diseased nuclei", region.rows, region.columns, (4, 4)) - 0.5
    cells = nuclei = dye = torch.zeros(())
    for shift_row in (0, 1):
        row = (first_row + shift_row).clamp(0, parts - 1).to(torch.int64)
        for shift_column in (0, 1):
            column = (first_column + shift_column).clamp(0, parts - 1).to(torch.int64)
            nucleus = gathered(table, places[0] * parts + row, places[1] * parts + column)
            distance, radius, darkness = nucleus_distance(nucleus, *local)
            edge = 1 - distance + 0.45 * rough
            there = darkness > 0
            covered = (0.5 + edge * radius / region.pitch).clamp(0, 1) * there
            body = (0.5 + (edge + 0.32) * radius / max(region.pitch, 2)).clamp(0, 1) * there
            pale = 0.62 + 0.38 * ((distance - 0.35) / 0.65).clamp(0, 1)
            nucleolus = (1.4 - distance * radius).clamp(0, 1) * 0.7
            cells, nuclei = torch.maximum(cells, body), torch.maximum(nuclei, covered)
            dye = torch.maximum(dye, covered * darkness * (pale + nucleolus))
    grain = plane_noise(region.seeds, "coarse chromatin", region.rows, region.columns, (3, 3))
    return Tumour(cells=cells, nuclei=nuclei, dye=dye * (1 + (0.7 * (grain - 0.5) if region.pitch == 1 else 0)))


def _nuclei(seeds: Tensor, clusters: Tensor, rows: Tensor, columns: Tensor, parts: int, step: float) -> Tensor:
    """Nuclei of tiles in the pixels of their tile: float32 (n, 7, r · parts, c · parts)."""
    centre_row, centre_column, radius, there = (
        clusters.repeat_interleave(parts, 2).repeat_interleave(parts, 3).unbind(1)
    )
    fine_rows = (rows * parts).repeat_interleave(parts, 1) + torch.arange(parts).repeat(rows.shape[1])[None, :, None]
    fine_columns = (columns * parts).repeat_interleave(parts, 2) + torch.arange(parts).repeat(columns.shape[2])[
        None, None
    ]
    state = lattice_state(stream_state(seeds, "diseased nuclei")[:, None, None], fine_rows, fine_columns)
    jitter_row, jitter_column, size, turn = byte_values(state)
    long, dark, rough, _ = byte_values(lattice_state(state, torch.ones((), dtype=torch.int32)))
    part_row, part_column = (fine_rows % parts).to(torch.float32), (fine_columns % parts).to(torch.float32)
    y, x = MARGIN + step * (part_row + 0.5) - centre_row, MARGIN + step * (part_column + 0.5) - centre_column
    # The part that holds the cluster's centre always has a nucleus: a positive tile is never empty.
    holds = (y.abs() <= step / 2) & (x.abs() <= step / 2)
    chosen = ((y * y + x * x).sqrt() < radius * (0.75 + 0.5 * rough)) | holds
    lesser = 3.7 + 1.1 * size
    direction_row, direction_column = unit_vector(turn)
    return torch.stack(
        [
            MARGIN + step * (part_row + 0.14 + 0.72 * jitter_row),
            MARGIN + step * (part_column + 0.14 + 0.72 * jitter_column),
            lesser,
            (lesser * (1 + 0.5 * long)).clamp(max=5.8),
            direction_row,
            direction_column,
            chosen * there * (1.25 + 0.5 * dark),
        ],
        1,
    )
