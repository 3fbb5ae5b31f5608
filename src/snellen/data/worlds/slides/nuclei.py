"""Nuclei of healthy tissue: round in the walls of glands, spindles between them, dark where lymphocytes crowd."""

from __future__ import annotations

import torch
from torch import Tensor

from snellen.data.worlds.slides.plane_noise import Region, plane_noise
from snellen.data.worlds.slides.tissue import LUMEN, Tissue, tissue_at
from snellen.data.worlds.textures.torus import byte_values, lattice_state, stream_state

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
    return mean if share == 0 else share * _drawn(region, side) + (1 - share) * mean


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


def _drawn(region: Region, side: int) -> Tensor:
    rows = torch.div(region.rows - SPACING, 2 * SPACING, rounding_mode="floor")
    columns = torch.div(region.columns - SPACING, 2 * SPACING, rounding_mode="floor")
    top, left = rows[:, :1], columns[:, :, :1]
    table = _nuclei(
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
            nucleus = looked_up(table, row - top, column - left)
            distance, radius, darkness = nucleus_distance(nucleus, down, across)
            covered = (0.5 + (1 - distance + 0.3 * rough) * radius / region.pitch).clamp(0, 1) * darkness
            dye = covered if dye is None else torch.maximum(dye, covered)
    assert dye is not None
    grain = plane_noise(region.seeds, "chromatin", region.rows, region.columns, (2, 2))
    return dye * (1 + (0.5 * (grain - 0.5) if region.pitch == 1 else 0))


def _nuclei(seeds: Tensor, rows: Tensor, columns: Tensor, side: int) -> Tensor:
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


def looked_up(table: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
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
