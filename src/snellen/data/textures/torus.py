"""Patterns that wrap: coordinates in which a picture's own translations are whole numbers, and random values that wrap.

A picture is the unit square p with opposite sides joined. A frequency matrix M of whole numbers takes it to pattern
coordinates (u, v) = M p, in which patterns have period 1: the picture then repeats at any angle that M has. Two cells
that the picture's translations join, (i, j) and (i, j) + M (a, b), must draw the same random value; they agree in
adj(M) (i, j) modulo det(M), which therefore names the cell.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from snellen.data.textures.lattice_hash import lattice_state, lattice_values, stream_state


@dataclass(frozen=True, kw_only=True)
class Torus:
    """Where n patterns are asked.

    Args:
        seeds: of the patterns, int64 (n,).
        frequency: M, int64 (n, 2, 2), of positive determinant.
        u: first coordinate of the pattern, float32 (n, h, w).
        v: second coordinate of the pattern, float32 (n, h, w).
        width: size of a pixel in units of the pattern, float32 (n, 1, 1).
    """

    seeds: Tensor
    frequency: Tensor
    u: Tensor
    v: Tensor
    width: Tensor

    def cell_state(self, stream: str, i: Tensor, j: Tensor, *, scale: tuple[int, int] = (1, 1)) -> Tensor:
        """Random state of cells of the pattern, int32 (n, h, w); ``scale`` cells to a unit along u and v."""
        matrix = self.frequency * torch.tensor(scale)[:, None]
        (a, b), (c, d) = (row.unbind(1) for row in matrix[:, :, :, None, None].unbind(1))
        size = a * d - b * c
        # Whole numbers are mixed and not the floats, which are not exact under a twist.
        first, second = torch.remainder(d * i - b * j, size), torch.remainder(a * j - c * i, size)
        return lattice_state(stream_state(self.seeds, stream)[:, None, None], first, second)

    def cell_values(self, stream: str, i: Tensor, j: Tensor, *, scale: tuple[int, int] = (1, 1)) -> Tensor:
        """A value in [0, 1) for each cell, float32 (n, h, w)."""
        return lattice_values(self.cell_state(stream, i, j, scale=scale))

    def noise(self, stream: str, *, scale: tuple[int, int] = (1, 1)) -> Tensor:
        """Value noise in [0, 1] with ``scale`` cells to a unit along u and v, float32 (n, h, w)."""
        (i, down), (j, across) = cell_and_share(self.u * scale[0]), cell_and_share(self.v * scale[1])
        down, across = down * down * (3 - 2 * down), across * across * (3 - 2 * across)
        first, second = (self.cell_values(stream, i, j + step, scale=scale) for step in (0, 1))
        near = first + (second - first) * across
        first, second = (self.cell_values(stream, i + 1, j + step, scale=scale) for step in (0, 1))
        far = first + (second - first) * across
        return near + (far - near) * down

    def edge(self, depth: Tensor) -> Tensor:
        """1 inside, where ``depth`` (units of the pattern) is above 0, and 0 outside, over one pixel."""
        return (0.5 + depth / self.width).clamp(0, 1)


def cell_and_share(values: Tensor) -> tuple[Tensor, Tensor]:
    """Number of the cell, int64, and how far the value is through it, float32 in [0, 1)."""
    cells = values.floor()
    return cells.to(torch.int64), values - cells
