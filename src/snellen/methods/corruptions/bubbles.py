"""Air bubbles under the cover glass of a microscope slide."""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from torch import Tensor

from snellen.core.randomness import Randomness
from snellen.methods.corruptions.marks import PUBLISHED_SIDE, mark_draws, place, upper_whole

#: Opacity of a bubble's inside and of its rim, which are white.
INSIDE, RIM = 100 / 255, 130 / 255
#: Width of the rim, and the least radius, in pixels of a published image.
RIM_WIDTH, LEAST_RADIUS = 2, 3
LEAST_COUNT = 7


def bubble(images: Tensor, rng: Randomness, *, radius: float, count: float) -> Tensor:
    """Lay 7 to ``count`` white bubbles over each image: (n, 3, h, w) in [0, 1] → the same.

    MedMNIST-C (Di Salvo et al. 2024, arXiv 2406.17536). A bubble is a disc as Pillow draws it, of a radius from 3
    pixels to ``radius``, with a rim of 2 pixels; where two overlap, the later one replaces the earlier. At another size
    than 224 pixels all lengths are those of the published image times shorter side / 224, and the rim is at least a
    pixel wide.

    The authors' code swaps width and height, which only shows where an image is not square; ours does not.

    Args:
        images: (n, 3, h, w) in [0, 1].
        rng: bound to the n examples.
        radius: the largest, pixels.
        count: the largest number of bubbles; below 7 their number, taken up or down to a whole one by chance.
    """
    height, width = images.shape[2:]
    scale = min(height, width) / PUBLISHED_SIDE
    rim = max(RIM_WIDTH * scale, 1.0)
    numbers = rng.uniform("number of bubbles", (1,)).flatten().tolist()
    opacity = torch.zeros(len(images), 1, height, width)
    for example, draws in enumerate(mark_draws(rng, "bubbles", math.ceil(count), 3)):
        for size, across, down in draws[: upper_whole(numbers[example], LEAST_COUNT, count)]:
            length = upper_whole(size, LEAST_RADIUS, radius / scale) * scale
            column = min(place(across, length, width - length), width - 1)
            row = min(place(down, length, height - length), height - 1)
            _draw(opacity[example, 0], _pattern(length, rim), row, column)
    opacity = opacity.to(images)
    return (images * (1 - opacity)).add_(opacity).clamp_(0, 1)


def _draw(opacity: Tensor, pattern: tuple[Tensor, Tensor], row: int, column: int) -> None:
    """Draw a bubble with its centre at a pixel, in place of what is there; what lies outside the image is cut off."""
    reach = len(pattern[0]) // 2
    top, left = row - reach, column - reach
    region = opacity[max(top, 0) : row + reach + 1, max(left, 0) : column + reach + 1]
    rows = slice(max(-top, 0), max(-top, 0) + region.shape[0])
    columns = slice(max(-left, 0), max(-left, 0) + region.shape[1])
    bubble_opacity, outside = (part[rows, columns] for part in pattern)
    region.mul_(outside).add_(bubble_opacity)


@lru_cache(maxsize=256)
def _pattern(radius: float, rim: float) -> tuple[Tensor, Tensor]:
    """Opacity of a bubble, and where there is none of it (1, else 0): both (2 k + 1, 2 k + 1)."""
    outer, inner = disc(radius + rim), disc(radius)
    pattern = outer * RIM
    margin = (len(outer) - len(inner)) // 2
    middle = pattern[margin : margin + len(inner), margin : margin + len(inner)]
    middle.copy_(torch.where(inner, torch.tensor(INSIDE), middle))
    return pattern, (~outer).float()


def disc(radius: float) -> Tensor:
    """A disc of pixels as Pillow draws it round the centre of a pixel: bool (2 k + 1, 2 k + 1), k = radius rounded.

    The outline starts at (k, 0); of the three next pixels (up, both, inwards) it takes the nearest to the circle, that
    of the least distance between x² + y² and radius², and the first of them where two are equally near.
    """
    reach = math.floor(radius + 0.5)
    widths = [-1] * (reach + 1)
    x, y = reach, 0
    while y <= reach:
        widths[y] = max(widths[y], x)
        if x == 0:
            break
        steps = [(x, y + 1), (x - 1, y + 1), (x - 1, y)]
        x, y = min(steps, key=lambda step: abs(step[0] ** 2 + step[1] ** 2 - radius**2))
    offsets = torch.arange(-reach, reach + 1).abs()
    pixels = offsets[None] <= torch.tensor(widths)[offsets][:, None]
    return pixels | pixels.T  # only between whole radii, which Pillow does not draw, are the two not the same
