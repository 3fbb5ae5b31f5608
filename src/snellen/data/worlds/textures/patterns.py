"""Ten patterns that wrap: each says where its second and third colour lie, and how light falls on it.

A picture is the unit square p with opposite sides joined. A frequency matrix M of whole numbers takes it to pattern
coordinates (u, v) = M p, in which patterns have period 1: the picture then repeats at any angle that M has. Two cells
that the picture's translations join, (i, j) and (i, j) + M (a, b), must draw the same random value. The columns of M
span the same lattice as (A, 0) and (B, C), its Hermite normal form, which gives every cell a number below det(M) = A C.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, get_args

import torch
from torch import Tensor

from snellen.data.worlds.optotypes.lattice_noise import mixed, stream_key, unit
from snellen.data.worlds.stable_arithmetic import length


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
    """Where n patterns are evaluated.

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
        return _gathered(self._states(stream, scale), self._numbers(i, j, scale))

    def cell_values(self, stream: str, i: Tensor, j: Tensor, *, scale: tuple[int, int] = (1, 1)) -> Tensor:
        """A value in [0, 1) for each cell, float32 (n, h, w)."""
        return unit(self.cell_state(stream, i, j, scale=scale))

    def noise(self, stream: str, *, scale: tuple[int, int] = (1, 1)) -> Tensor:
        """Value noise in [0, 1] with ``scale`` cells to a unit along u and v, float32 (n, h, w)."""
        (i, down), (j, across) = cell_and_share(self.u * scale[0]), cell_and_share(self.v * scale[1])
        down, across = down * down * (3 - 2 * down), across * across * (3 - 2 * across)
        values = unit(self._states(stream, scale))
        left, right = self._numbers(i, j, scale), self._numbers(i, j + 1, scale)
        first, second = _gathered(values, left), _gathered(values, right)
        near = first + (second - first) * across
        step = scale[1] * self.wrapping[2]
        count = scale[0] * self.wrapping[0] * step
        first, second = (
            _gathered(values, torch.where(place + step < count, place + step, place + step - count))
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


def _gathered(table: Tensor, numbers: Tensor) -> Tensor:
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


Generator = Literal["bricks", "weave", "stripes", "dots", "checkers", "cells", "noise", "wood", "terrazzo", "hexagons"]
GENERATORS: tuple[Generator, ...] = get_args(Generator)


@dataclass(frozen=True, kw_only=True)
class Layers:
    """What a pattern shows, each float32 (n, h, w).

    Args:
        second: share of the second colour over the first, in [0, 1].
        third: share of the third colour over both, in [0, 1].
        light: factor of brightness, about 1.
    """

    second: Tensor
    third: Tensor
    light: Tensor


def bricks(torus: Torus) -> Layers:
    """Courses of bricks, every second one moved by half a brick; mortar is the third colour."""
    course, height = cell_and_share(2 * torus.v)
    odd = torch.remainder(course, 2)
    column, along = cell_and_share(torus.u + 0.5 * odd)
    state = torus.cell_state("bricks", column, torch.div(course, 2, rounding_mode="floor"))
    inside = torch.minimum(torch.minimum(along, 1 - along), torch.minimum(height, 1 - height) / 2)
    brick = torus.edge(inside - 0.04)
    bevel = (along < 0.5) * (height < 0.5) * (0.16 * (1 - inside / 0.1).clamp(min=0))
    bevel = bevel - (along >= 0.5) * (height >= 0.5) * (0.2 * (1 - inside / 0.1).clamp(min=0))
    rough = torus.noise("grain of bricks", scale=(12, 12)) - 0.5
    return Layers(second=lattice_values(state, odd), third=1 - brick, light=1 + brick * bevel + 0.22 * rough)


def weave(torus: Torus) -> Layers:
    """Plain weave: threads of two colours that pass over each other in turn, with dark gaps."""
    (i, across), (j, down) = cell_and_share(2 * torus.u), cell_and_share(2 * torus.v)
    over = torch.remainder(i + j, 2).to(torch.float32)
    lying = 4 * down * (1 - down) * (0.55 + 1.8 * across * (1 - across))
    standing = 4 * across * (1 - across) * (0.55 + 1.8 * down * (1 - down))
    roundness = over * lying + (1 - over) * standing
    fibres = over * torus.noise("lying fibres", scale=(2, 12)) + (1 - over) * torus.noise(
        "standing fibres", scale=(12, 2)
    )
    gap = (1 - roundness / 0.25).clamp(0, 1)
    return Layers(second=over, third=gap * 0.7, light=0.55 + 0.5 * roundness + 0.3 * (fibres - 0.5))


def stripes(torus: Torus) -> Layers:
    """Broad stripes of two colours with a thin line of the third."""
    _, place = cell_and_share(torus.v)
    share = 0.16 + 0.12 * seed_values(torus.seeds, "stripes", 1)[:, :, None]
    second = torus.edge(share - (place - 0.3).abs())
    third = torus.edge(0.05 - (place - 0.78).abs())
    return Layers(second=second, third=third, light=1 + 0.1 * (torus.noise("cloth", scale=(7, 7)) - 0.5))


def dots(torus: Torus) -> Layers:
    """Dots on a lattice and smaller ones between them."""
    (i, across), (j, down) = cell_and_share(torus.u), cell_and_share(torus.v)
    drawn = seed_values(torus.seeds, "dots", 2)[:, :, None, None]
    distance = length(across - 0.5, down - 0.5)
    corner = length(0.5 - (across - 0.5).abs(), 0.5 - (down - 0.5).abs())
    large = torus.edge(0.22 + 0.13 * drawn[:, 0] - distance)
    small = torus.edge(0.08 + 0.08 * drawn[:, 1] - corner)
    tone = torus.cell_values("tones of dots", i, j)
    light = 1 + large * 0.25 * (tone - 0.5) + 0.1 * (torus.noise("paper", scale=(5, 5)) - 0.5)
    return Layers(second=large, third=small, light=light)


def checkers(torus: Torus) -> Layers:
    """Squares of two colours, veined like stone."""
    (_, across), (_, down) = cell_and_share(torus.u), cell_and_share(torus.v)
    first, second = torus.edge(0.25 - (across - 0.5).abs()), torus.edge(0.25 - (down - 0.5).abs())
    stone = torus.noise("clouds", scale=(3, 3)) * 0.6 + torus.noise("fine clouds", scale=(7, 7)) * 0.4
    vein = (1 - (stone - 0.5).abs() / 0.035).clamp(0, 1) * 0.45
    return Layers(second=first + second - 2 * first * second, third=vein, light=1 + 0.3 * (stone - 0.5))


def cells(torus: Torus) -> Layers:
    """Cells of Voronoi about scattered points, with joints of the third colour."""
    nearest, second, state = _nearest_points(torus, "points", jitter=0.8)
    joint = torus.edge(0.05 - (second - nearest))
    rough = torus.noise("grain of cells", scale=(5, 5)) - 0.5
    return Layers(second=lattice_values(state, _one(1)), third=joint, light=1.12 - 0.35 * nearest + 0.2 * rough)


def noise(torus: Torus) -> Layers:
    """Clouds of four octaves on the lattice."""
    total = sum((torus.noise(f"octave {o}", scale=(2**o, 2**o)) - 0.5) * 0.6**o for o in range(4))
    assert isinstance(total, Tensor)
    vein = (1 - (total - 0.05).abs() / 0.06).clamp(0, 1)
    fine = torus.noise("fine grain", scale=(16, 16)) - 0.5
    return Layers(second=(0.5 + 1.1 * total).clamp(0, 1), third=0.35 * vein, light=1 + 0.12 * fine)


def wood(torus: Torus) -> Layers:
    """Wood cut along the grain: wavy rings and long fibres."""
    bend = torus.noise("bend", scale=(1, 1)) + 0.35 * torus.noise("bends", scale=(2, 3))
    _, ring = cell_and_share(torus.v + 1.6 * bend)
    late = ring * ring * (1 - ((ring - 0.92) / 0.08).clamp(0, 1))
    fibres = 0.6 * torus.noise("fibres", scale=(3, 24)) + 0.4 * torus.noise("long fibres", scale=(1, 12))
    pores = ((torus.noise("pores", scale=(4, 20)) - 0.74) / 0.12).clamp(0, 1)
    return Layers(second=late, third=0.45 * pores, light=0.88 + 0.26 * fibres)


def terrazzo(torus: Torus) -> Layers:
    """Chips of stone, large and small, in cement."""
    ragged = torus.noise("ragged", scale=(6, 6)) - 0.5
    cement = 1 + 0.12 * (torus.noise("cement", scale=(14, 14)) - 0.5)
    second, third, light = (torch.zeros_like(torus.u) for _ in range(3))
    for stream, large in (("small chips", 0.2), ("chips", 0.34)):
        nearest, other, state = _nearest_points(torus, stream, jitter=0.75)
        size, tint, tone = (lattice_values(state, _one(number)) for number in (1, 2, 3))
        apart = (other - nearest) / 2 - 0.03
        chip = torus.edge(torch.minimum(large * (0.45 + 0.75 * size) - nearest + 0.14 * ragged, apart))
        second, third = second * (1 - chip) + chip * (tint < 0.6), third * (1 - chip) + chip * (tint >= 0.6)
        light = light * (1 - chip) + chip * (tone - 0.5) * 0.4
    return Layers(second=second, third=third, light=cement + light)


def hexagons(torus: Torus) -> Layers:
    """Hexagonal tiles with joints of the third colour."""
    best = second = light = inside = torch.zeros(())
    for number, shift in enumerate((0.0, 0.5)):
        (i, across), (j, down) = cell_and_share(torus.u + shift), cell_and_share(torus.v + shift)
        x, y = across - 0.5, (down - 0.5) * 3**0.5
        distance = length(x, y)
        tone = lattice_values(torus.cell_state(f"hexagons {number}", i, j), _one(number))
        depth = 0.5 - torch.maximum(x.abs(), 0.5 * x.abs() + 0.75**0.5 * y.abs())
        nearer = torch.ones_like(x, dtype=torch.bool) if number == 0 else distance < best
        best, second = torch.where(nearer, distance, best), torch.where(nearer, tone, second)
        inside, light = torch.where(nearer, depth, inside), torch.where(nearer, x + y, light)
    joint = 1 - torus.edge(inside - 0.045)
    shade = 1 - 0.3 * light * (1 - inside / 0.2).clamp(min=0) + 0.12 * (torus.noise("glaze", scale=(4, 7)) - 0.5)
    return Layers(second=second, third=joint, light=shade)


#: How each pattern is drawn.
DRAWN: dict[Generator, Callable[[Torus], Layers]] = {
    "bricks": bricks,
    "weave": weave,
    "stripes": stripes,
    "dots": dots,
    "checkers": checkers,
    "cells": cells,
    "noise": noise,
    "wood": wood,
    "terrazzo": terrazzo,
    "hexagons": hexagons,
}


def _nearest_points(torus: Torus, stream: str, *, jitter: float) -> tuple[Tensor, Tensor, Tensor]:
    """Distances from the nearest and the second nearest point, and the random state of the nearest."""
    (i, across), (j, down) = cell_and_share(torus.u), cell_and_share(torus.v)
    nearest = second = torch.full_like(across, 9.0)
    state = torch.zeros_like(across, dtype=torch.int32)
    for step_i in (-1, 0, 1):
        for step_j in (-1, 0, 1):
            found = torus.cell_state(stream, i + step_i, j + step_j)
            x, y, _, _ = byte_values(found)
            distance = length(across - (step_i + 0.5 + jitter * (x - 0.5)), down - (step_j + 0.5 + jitter * (y - 0.5)))
            nearer = distance < nearest
            second = torch.where(nearer, nearest, torch.minimum(second, distance))
            state, nearest = torch.where(nearer, found, state), torch.where(nearer, distance, nearest)
    return nearest, second, state


def _one(number: int) -> Tensor:
    return torch.tensor(number, dtype=torch.int32)
