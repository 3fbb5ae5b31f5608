"""Ink deposits: dye that stayed on a stained tissue slide as black spots."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from snellen.core.randomness import Randomness
from snellen.methods.corruptions.marks import PUBLISHED_SIDE, mark_draws, place, upper_whole

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
