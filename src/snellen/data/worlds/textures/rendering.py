"""Pictures of textures: a function of the recipe of each, in any batch and at any size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from snellen.data.worlds.textures.breaking import moved
from snellen.data.worlds.textures.patterns import DRAWN, GENERATORS, Generator, Torus, seed_values

#: Changes whenever the pixels of a texture change.
VERSION = "textures 1"

#: Samples along each side of a pixel.
_SAMPLES = 2


#: Hues, saturation and value of patterns that have a colour in nature; the others take any.
HUES: dict[Generator, tuple[tuple[float, float], float, float]] = {
    "bricks": ((0.0, 0.06), 0.6, 0.62),
    "wood": ((0.055, 0.085), 0.6, 0.5),
    "cells": ((0.05, 0.65), 0.2, 0.6),
    "terrazzo": ((0.0, 1.0), 0.16, 0.85),
}


@dataclass(frozen=True, kw_only=True)
class Recipes:
    """What n textures follow from.

    Args:
        generators: name of the pattern of each.
        seeds: of the pattern, int64 (n,).
        frequency: whole periods along the sides, int64 (n, 2, 2), see :mod:`snellen.data.worlds.textures.patterns`.
        twist: projective map of the unit square, float32 (n, 3, 3); the identity leaves the texture tileable.
        ramp: gain of brightness from side to side, across and down, float32 (n, 2); 0 leaves it tileable.
        blob: column, row, radius and brightness of a light spot, float32 (n, 4); brightness 0 is none.
    """

    generators: tuple[Generator, ...]
    seeds: Tensor
    frequency: Tensor
    twist: Tensor
    ramp: Tensor
    blob: Tensor

    def __getitem__(self, rows: Sequence[int]) -> Recipes:
        """The recipes of some textures."""
        chosen = torch.tensor(list(rows), dtype=torch.int64)
        return Recipes(
            generators=tuple(self.generators[row] for row in rows),
            seeds=self.seeds[chosen],
            frequency=self.frequency[chosen],
            twist=self.twist[chosen],
            ramp=self.ramp[chosen],
            blob=self.blob[chosen],
        )


def render_textures(recipes: Recipes, *, size: int, shift: tuple[int, int] = (0, 0)) -> NDArray[np.uint8]:
    """Render textures: uint8 (n, size, size, 3).

    Args:
        recipes: n of them.
        size: side, pixels.
        shift: pixels by which the window is moved down and across; a tileable texture comes back rolled.
    """
    pixels = np.zeros((len(recipes.generators), size, size, 3), dtype=np.uint8)
    for generator in GENERATORS:
        rows = [row for row, name in enumerate(recipes.generators) if name == generator]
        if rows:
            pixels[rows] = _of_one_generator(generator, recipes[rows], size, shift)
    return pixels


def _of_one_generator(generator: Generator, recipes: Recipes, size: int, shift: tuple[int, int]) -> NDArray[np.uint8]:
    fine = size * _SAMPLES
    steps = (torch.arange(fine, dtype=torch.float32) + 0.5) / fine
    down = (steps + shift[0] / size)[None, :, None].expand(len(recipes.seeds), fine, fine)
    across = (steps + shift[1] / size)[None, None].expand(len(recipes.seeds), fine, fine)
    x, y = moved(recipes.twist, across, down)
    matrix = recipes.frequency.to(torch.float32)[:, :, :, None, None]
    # Phases of 12 bits: the coordinates stay exact, so that one period on there is the same number less one.
    phase = (seed_values(recipes.seeds, "phase", 2) * 4096).floor()[:, :, None, None] / 4096
    coordinates = [matrix[:, axis, 0] * x + matrix[:, axis, 1] * y + phase[:, axis] for axis in (0, 1)]
    steepest = (matrix * matrix).sum(2).amax(1).sqrt()
    torus = Torus(
        seeds=recipes.seeds,
        frequency=recipes.frequency,
        u=coordinates[0].contiguous(),
        v=coordinates[1].contiguous(),
        width=steepest / size,
    )
    layers = DRAWN[generator](torus)
    palette = _palettes(generator, recipes.seeds)
    gain = layers.light * _gain(recipes, across, down)
    channels = []
    for channel in range(3):
        first, second, third = palette[:, :, channel, None, None].unbind(1)
        colour = first + (second - first) * layers.second
        colour = (colour + (third - colour) * layers.third) * gain
        light = _spot(recipes, across, down)
        channels.append(_averaged((colour + (1 - colour) * light).clamp(0, 1)))
    return (torch.stack(channels, -1) * 255 + 0.5).to(torch.uint8).numpy()


def _gain(recipes: Recipes, across: Tensor, down: Tensor) -> Tensor:
    over, below = recipes.ramp[:, :, None, None].unbind(1)
    return 1 + over * (across - 0.5) + below * (down - 0.5)


def _spot(recipes: Recipes, across: Tensor, down: Tensor) -> Tensor:
    column, row, radius, brightness = recipes.blob[:, :, None, None].unbind(1)
    x, y = (across - column) / radius, (down - row) / radius
    inside = (1 - x * x - y * y).clamp(min=0)
    return brightness * inside * inside * (3 - 2 * inside)


def _averaged(samples: Tensor) -> Tensor:
    """Mean of the samples of each pixel, summed in one order everywhere."""
    total = sum(samples[:, row::_SAMPLES, column::_SAMPLES] for row in range(_SAMPLES) for column in range(_SAMPLES))
    assert isinstance(total, Tensor)
    return total / _SAMPLES**2


def _palettes(generator: Generator, seeds: Tensor) -> Tensor:
    """Three colours for each texture, float32 (n, 3, 3): two of neighbouring hues and a light or dark third."""
    drawn = seed_values(seeds, "palette", 8)
    (low, high), saturation, value = HUES.get(generator, ((0.0, 1.0), 0.5, 0.6))
    hue = low + (high - low) * drawn[:, 0]
    spread = 0.12 if generator not in HUES else 0.02
    first = _colour(hue, saturation * (0.6 + 0.6 * drawn[:, 1]), value * (0.75 + 0.4 * drawn[:, 2]))
    second = _colour(
        hue + spread * (0.5 + drawn[:, 3]), saturation * (0.4 + 0.6 * drawn[:, 4]), 0.7 + 0.23 * drawn[:, 5]
    )
    pale = torch.where(drawn[:, 7] < 0.5, 0.2, 0.92)
    third = _colour(hue + 0.45 + 0.1 * drawn[:, 6], 0.05 + 0.3 * drawn[:, 6], pale)
    return torch.stack([first, second, third], 1).contiguous()


def _colour(hue: Tensor, saturation: Tensor, value: Tensor) -> Tensor:
    """RGB (n, 3) of hue, saturation and value."""
    turns = (hue[:, None] + torch.tensor([0.0, 2.0, 1.0]) / 3).remainder(1.0)
    pure = ((turns * 6 - 3).abs() - 1).clamp(0, 1)
    return value[:, None] * (1 - saturation[:, None] * (1 - pure))
