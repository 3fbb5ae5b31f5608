"""Ten patterns that wrap: each says where its second and third colour lie, and how light falls on it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from snellen.data.worlds.stable_arithmetic import length
from snellen.data.worlds.textures.torus import Torus, byte_values, cell_and_share, lattice_values, seed_values

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
