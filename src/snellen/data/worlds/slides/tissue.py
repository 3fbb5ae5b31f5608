"""What the glass carries where: pieces of tissue, the glands in them, and patches crowded with lymphocytes."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from snellen.data.worlds.slides.plane_noise import plane_noise, smooth_step
from snellen.data.worlds.textures.torus import byte_values, lattice_state, seed_values, stream_state

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
