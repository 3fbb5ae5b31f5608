"""Marks on an image: air bubbles, the black corners of a round eyepiece, and ink, of random number and place.

Numbers and sizes are given by their upper end, which may be any real number: a strength between two published ones.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from snellen.core.randomness import Randomness

#: Marks that one draw provides for.
_BLOCK = 32

#: Side of the images for which MedMNIST-C states its lengths, pixels.
PUBLISHED_SIDE = 224


def upper_whole(share: float, low: float, high: float) -> int:
    """A whole number in low..high, each equally likely where ``share`` is uniform in [0, 1) and both ends are whole.

    It grows with ``high`` for the same share, in single steps; an end below ``low`` takes its place.

    >>> [upper_whole(share, 1, 3) for share in (0.0, 0.4, 0.99)]
    [1, 2, 3]
    >>> [upper_whole(share, 1, 0.5) for share in (0.4, 0.6)]
    [0, 1]
    """
    low = min(low, high)
    return min(math.floor(low + share * (high - low + 1)), math.ceil(high))


def place(share: float, first: float, last: float) -> int:
    """A whole position in first..last, or the middle of the two where a mark leaves no room between them."""
    return math.floor((first + last) / 2) if last < first else upper_whole(share, first, last)


def mark_draws(rng: Randomness, stream: str, most: int, width: int) -> list[list[list[float]]]:
    """Uniform draws in [0, 1): ``width`` numbers for each of at least ``most`` marks of each example.

    Those of the k-th mark do not depend on ``most``.
    """
    blocks = [rng.uniform(f"{stream} {block}", (_BLOCK, width)) for block in range(max(1, math.ceil(most / _BLOCK)))]
    return [[mark for block in blocks for mark in block[row].tolist()] for row in range(len(blocks[0]))]


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


def black_corner(images: Tensor, rng: Randomness, *, radius: float) -> Tensor:
    """Blacken what lies outside the circle round the centre: (n, 3, h, w) in [0, 1] → the same.

    MedMNIST-C (Di Salvo et al. 2024, arXiv 2406.17536). A pixel stays if its distance to (h // 2, w // 2) is at most
    ``int(radius · half)``, with the distance ``half`` from there to the nearest side: the filled circle of OpenCV that
    the authors draw. From about 1.42 on, a square image is left as it is.

    Args:
        images: (n, 3, h, w) in [0, 1].
        rng: not used: the circle is the same in every image.
        radius: of the circle, in half sides.

    >>> black_corner(torch.ones(1, 3, 5, 5), Randomness(0).bind(1), radius=1.0)[0, 0].int()
    tensor([[0, 0, 1, 0, 0],
            [0, 1, 1, 1, 0],
            [1, 1, 1, 1, 1],
            [0, 1, 1, 1, 0],
            [0, 0, 1, 0, 0]], dtype=torch.int32)
    """
    height, width = images.shape[2:]
    row, column = height // 2, width // 2
    reach = int(radius * min(row, column, height - row, width - column))
    rows = torch.arange(height, device=images.device)[:, None] - row
    columns = torch.arange(width, device=images.device)[None] - column
    return images * (rows**2 + columns**2 <= reach**2)


#: Least distance of a stain to the border, in pixels of a published image.
MARGIN = 10
#: Our ink silhouettes.
INKS = 10

#: Mean share of dark pixels in the square of a published ink, by its side (measured over the ten inks of each size in
#: medmnistc 0.1.0), and the range of single inks round it.
_SMALL_SIDE, _SMALL_SHARE = 24, 0.625
_LARGE_SIDE, _LARGE_SHARE = 32, 0.541
_SHARE_RANGE = 0.12

_HARMONICS = 8
_DROPLETS = 5


def stain_deposit(
    images: Tensor, rng: Randomness, *, marks: float, side: float, textures: Sequence[Tensor] | None = None
) -> Tensor:
    """Put 1 to ``marks`` black stains on each image: (n, 3, h, w) in [0, 1] → the same.

    MedMNIST-C (Di Salvo et al. 2024, arXiv 2406.17536), with ten ink shapes of our own in place of the ten drawn ones
    of the authors: of the same size, and as dark on average. A stain keeps a distance of 10/224 of the shorter side to
    the borders where there is room, and lies in the middle where there is none (the authors' code fails on sides below
    52 pixels).

    Args:
        images: (n, 3, h, w) in [0, 1].
        rng: bound to the n examples.
        marks: the largest number of stains; below 1 the probability of one.
        side: of the square round a stain, pixels; rounded, at least 1.
        textures: ink shapes in place of ours, (1 or 3, height, width) in [0, 1], black is ink; scaled to ``side``.
            Where some are of this side already, only these are drawn: the published ones come in several sizes.
    """
    height, width = images.shape[2:]
    shorter = min(height, width)
    margin = round(MARGIN * shorter / PUBLISHED_SIDE)
    pixels = max(round(side), 1)
    numbers = rng.uniform("number of stains", (1,)).flatten().tolist()
    fitting = [texture for texture in textures or () if tuple(texture.shape[1:]) == (pixels, pixels)]
    shapes = [_scaled(texture, pixels) for texture in fitting or textures or ()]
    share = _share(side * PUBLISHED_SIDE / max(shorter, 1))
    changed = images.clone()
    for example, draws in enumerate(mark_draws(rng, "stains", math.ceil(marks), 3)):
        for kind, across, down in draws[: upper_whole(numbers[example], 1, marks)]:
            kept = shapes[int(kind * len(shapes))] if shapes else 1 - ink(int(kind * INKS), pixels, share).float()
            top = _start(down, height, kept.shape[0], margin)
            left = _start(across, width, kept.shape[1], margin)
            region = changed[example, :, max(top, 0) : top + kept.shape[0], max(left, 0) : left + kept.shape[1]]
            part = kept[max(-top, 0) :, max(-left, 0) :][: region.shape[1], : region.shape[2]]
            region.mul_(part.to(region))
    return changed


def _start(share: float, length: int, size: int, margin: int) -> int:
    """First pixel of a stain along an axis; negative where it is larger than the image."""
    room = length - size
    margin = min(margin, max(room // 2, 0))
    return place(share, margin, room - margin)


def _share(side: float) -> float:
    """Mean share of ink in its square, for a stain of this side on an image of the published size."""
    larger = min(max((side - _SMALL_SIDE) / (_LARGE_SIDE - _SMALL_SIDE), 0.0), 1.0)
    return round(_SMALL_SHARE + larger * (_LARGE_SHARE - _SMALL_SHARE), 3)


@lru_cache(maxsize=256)
def ink(kind: int, side: int, share: float) -> Tensor:
    """A silhouette: bool (side, side), True is ink.

    A blob with an irregular edge and some droplets, all grown until they cover their part of the square. The same kind
    is the same shape at every side.

    Args:
        kind: 0 to :data:`INKS` − 1; later ones are the larger.
        side: of the square, pixels.
        share: of ink in the square, as a mean over all kinds.
    """
    draws = Randomness(seed=37).for_examples([f"ink {kind}"])
    offsets = (torch.arange(side, dtype=torch.float64) + 0.5) * (2 / side) - 1
    down, across = offsets[:, None], offsets[None]
    angle = torch.atan2(down, across)
    # A rounded square as the base: it covers most of its square without being cut off at the sides.
    distance = (across.abs() ** 3 + down.abs() ** 3) ** (1 / 3)
    reach = torch.ones_like(angle)
    for order, (height, phase) in enumerate(draws.uniform("edge", (_HARMONICS, 2))[0].tolist(), start=2):
        reach += (0.05 + 0.2 * height) / order**0.5 * torch.cos(order * angle + 2 * math.pi * phase)
    grown = distance / reach.clamp(min=0.3)
    for turn, away, size in draws.uniform("droplets", (_DROPLETS, 3))[0].tolist():
        row, column = (
            (0.7 + 0.2 * away) * math.sin(2 * math.pi * turn),
            (0.7 + 0.2 * away) * math.cos(2 * math.pi * turn),
        )
        droplet = torch.sqrt((down - row) ** 2 + (across - column) ** 2)
        grown = torch.minimum(grown, droplet / (0.08 + 0.12 * size))
    share += _SHARE_RANGE * (2 * kind / (INKS - 1) - 1)
    covered = min(max(round(share * side**2), 1), side**2)
    return grown <= grown.flatten().kthvalue(covered).values


def _scaled(texture: Tensor, side: int) -> Tensor:
    """What a texture leaves of the light, its longer side scaled to ``side``: (height, width) in [0, 1]."""
    light = texture.detach().float().mean(0)
    longest = max(light.shape)
    if longest == side:
        return light
    size = [max(round(length * side / longest), 1) for length in light.shape]
    return F.interpolate(light[None, None], size=size, mode="bilinear", antialias=True)[0, 0].clamp_(0, 1)
