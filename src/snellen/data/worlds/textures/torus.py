"""Patterns that wrap: coordinates in which a picture's own translations are whole numbers, and random values that wrap.

A picture is the unit square p with opposite sides joined. A frequency matrix M of whole numbers takes it to pattern
coordinates (u, v) = M p, in which patterns have period 1: the picture then repeats at any angle that M has. Two cells
that the picture's translations join, (i, j) and (i, j) + M (a, b), must draw the same random value. The columns of M
span the same lattice as (A, 0) and (B, C), its Hermite normal form, which gives every cell a number below det(M) = A C.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from snellen.data.worlds.optotypes.lattice_noise import mixed, stream_key, unit


def stream_state(seeds: Tensor, stream: str) -> Tensor:
    """State of one stream, int32 (n,), of seeds int64 (n,).

    Both halves of a seed are mixed after the stream, so that two seeds which happen to agree in one stream differ in
    the others.
    """
    key = mixed((seeds & 0xFFFFFFFF).to(torch.int32) ^ stream_key(stream))
    return mixed(key ^ (seeds >> 32).to(torch.int32))


def lattice_state(state: Tensor, *numbers: Tensor) -> Tensor:
    """Mix whole numbers into a state, one after the other; shapes broadcast, and the result is int32."""
    for number in numbers:
        state = mixed(state ^ number.to(torch.int32))
    return state


def lattice_values(state: Tensor, *numbers: Tensor) -> Tensor:
    """Values in [0, 1), float32, for whole numbers under a state.

    >>> state = stream_state(torch.tensor([7]), "grain")
    >>> rows, columns = torch.arange(2)[:, None], torch.arange(3)[None]
    >>> lattice_values(state, rows, columns).shape
    torch.Size([2, 3])
    """
    return unit(lattice_state(state, *numbers))


def seed_values(seeds: Tensor, stream: str, count: int) -> Tensor:
    """``count`` values in [0, 1) for each seed: float32 (n, count), of seeds int64 (n,).

    >>> both = seed_values(torch.tensor([1, 2]), "phase", 3)
    >>> torch.equal(both[1:], seed_values(torch.tensor([2]), "phase", 3))
    True
    """
    return lattice_values(stream_state(seeds, stream)[:, None], torch.arange(count)[None])


def byte_values(state: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Four values in [0, 1), float32 multiples of 1/256, of mixed int32 values."""
    first, second, third, fourth = (((state >> shift) & 255).to(torch.float32) / 256 for shift in (0, 8, 16, 24))
    return first, second, third, fourth


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

    @cached_property
    def wrapping(self) -> tuple[Tensor, Tensor, Tensor]:
        """A, B and C of the Hermite normal form of M, int32 (n, 1, 1) each."""
        return _hermite(self.frequency)

    def cell_state(self, stream: str, i: Tensor, j: Tensor, *, scale: tuple[int, int] = (1, 1)) -> Tensor:
        """Random state of cells of the pattern, int32 (n, h, w); ``scale`` cells to a unit along u and v."""
        return _looked_up(self._states(stream, scale), self._numbers(i, j, scale))

    def cell_values(self, stream: str, i: Tensor, j: Tensor, *, scale: tuple[int, int] = (1, 1)) -> Tensor:
        """A value in [0, 1) for each cell, float32 (n, h, w)."""
        return unit(self.cell_state(stream, i, j, scale=scale))

    def noise(self, stream: str, *, scale: tuple[int, int] = (1, 1)) -> Tensor:
        """Value noise in [0, 1] with ``scale`` cells to a unit along u and v, float32 (n, h, w)."""
        (i, down), (j, across) = cell_and_share(self.u * scale[0]), cell_and_share(self.v * scale[1])
        down, across = down * down * (3 - 2 * down), across * across * (3 - 2 * across)
        values = unit(self._states(stream, scale))
        left, right = self._numbers(i, j, scale), self._numbers(i, j + 1, scale)
        first, second = _looked_up(values, left), _looked_up(values, right)
        near = first + (second - first) * across
        step = scale[1] * self.wrapping[2]
        count = scale[0] * self.wrapping[0] * step
        first, second = (
            _looked_up(values, torch.where(place + step < count, place + step, place + step - count))
            for place in (left, right)
        )
        far = first + (second - first) * across
        return near + (far - near) * down

    def _numbers(self, i: Tensor, j: Tensor, scale: tuple[int, int]) -> Tensor:
        """Number of the cell on the torus, int32 (n, h, w)."""
        wide, shift, tall = self.wrapping
        wide, shift, tall = wide * scale[0], shift * scale[0], tall * scale[1]
        turns = torch.div(j, tall, rounding_mode="floor")
        return torch.remainder(i - shift * turns, wide) * tall + (j - turns * tall)

    def _states(self, stream: str, scale: tuple[int, int]) -> Tensor:
        """Random states of all cells, int32 (n, cells of the largest torus)."""
        cells = scale[0] * scale[1] * int((self.wrapping[0] * self.wrapping[2]).max())
        return lattice_state(stream_state(self.seeds, stream)[:, None], torch.arange(cells)[None])

    def edge(self, depth: Tensor) -> Tensor:
        """1 inside, where ``depth`` (units of the pattern) is above 0, and 0 outside, over one pixel."""
        return (0.5 + depth / self.width).clamp(0, 1)


def cell_and_share(values: Tensor) -> tuple[Tensor, Tensor]:
    """Number of the cell, int32, and how far the value is through it, float32 in [0, 1)."""
    cells = values.floor()
    return cells.to(torch.int32), values - cells


def _looked_up(table: Tensor, numbers: Tensor) -> Tensor:
    """Entries (n, h, w) of tables (n, m) at numbers (n, h, w)."""
    return table.gather(1, numbers.flatten(1).to(torch.int64)).reshape(numbers.shape)


def _hermite(matrices: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """A, B and C, int32 (n, 1, 1): (A, 0) and (B, C) span what the columns of matrices (n, 2, 2) span.

    C is the greatest common divisor of the lower row, by Euclid's algorithm, which also gives the combination of the
    columns that has it.
    """
    (a, b), (c, d) = (row.unbind(1) for row in matrices.to(torch.int64).unbind(1))
    divisor, rest = c, d
    combined, other = a, b
    while bool((rest != 0).any()):
        going = rest != 0
        share = torch.where(going, torch.div(divisor, torch.where(going, rest, 1), rounding_mode="floor"), 0)
        divisor, rest = torch.where(going, rest, divisor), torch.where(going, divisor - share * rest, rest)
        combined, other = torch.where(going, other, combined), torch.where(going, combined - share * other, other)
    combined, divisor = combined * divisor.sign(), divisor.abs()
    wide = (a * d - b * c) // divisor
    parts = wide, torch.remainder(combined, wide), divisor
    first, second, third = (part.to(torch.int32)[:, None, None] for part in parts)
    return first, second, third
