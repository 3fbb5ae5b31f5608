"""Glass blur: pixels swapped with near neighbours, between two Gaussian blurs; what frosted glass does.

Hendrycks and Dietterich, arXiv 1903.12261, appendix B.
"""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from torch import Tensor

from snellen.core.randomness import Randomness
from snellen.methods.corruptions.filters import gaussian_filter

#: Pixels of the images that are shuffled together: more need fewer steps, and more memory.
PIXELS_AT_ONCE = 16 * 224 * 224


@lru_cache(maxsize=16)
def wavefront(height: int, width: int, reach: int, passes: int) -> tuple[Tensor, tuple[int, ...]]:
    """Visits that may be made together: places (visits,) in (passes, height, width) by time, how many at each time.

    One after another, each pass visits the pixels from the bottom right to the top left, but for a margin of ``reach``,
    and swaps each with one at offsets in [-reach, reach). Two visits touch a common pixel only if they are less than
    2 · reach rows and columns apart. Time = columns to the right + 2 · reach · rows below + 4 · reach² · passes before
    keeps the order of all such pairs and puts none of them at the same time.
    """
    rows, columns = (torch.arange(max(side - reach, reach), reach, -1) for side in (height, width))
    before = torch.arange(passes)[:, None, None]
    times = (width - columns) + 2 * reach * (height - rows)[:, None] + 4 * reach**2 * before
    places = columns + width * rows[:, None] + height * width * before
    order = times.flatten().argsort(stable=True)
    together = times.flatten().bincount()
    return places.flatten()[order], tuple(together[together > 0].tolist())


def shuffle(moves: Tensor, reach: int, *, parity: bool = False) -> Tensor:
    """Which pixel stands at each place after all swaps: (n, passes, 2, h, w) → int32 (n, h · w), row · w + column.

    ``moves`` are integer offsets (down, right) in [-reach, reach) for each visit. With ``parity`` a visited pixel
    becomes a copy of its neighbour, which stays.
    """
    count, passes, _, height, width = moves.shape
    visits, together = wavefront(height, width, reach, passes)
    visits = visits.to(moves.device)
    # Images side by side: what is visited at one time is one piece of memory, over the whole batch.
    images = torch.arange(count, dtype=moves.dtype, device=moves.device)[:, None]
    jumps = torch.add(moves[:, :, 1], moves[:, :, 0], alpha=width).flatten(1)
    jumps = torch.add(images, jumps, alpha=count)
    here = visits % (height * width)
    there = jumps.T.contiguous().index_select(0, visits).long().add_((here * count)[:, None]).view(-1)
    pixels = torch.arange(height * width, dtype=torch.int32, device=moves.device)[:, None].repeat(1, count)
    flat = pixels.view(-1)
    at_each_time = there.split([visited * count for visited in together])
    for visited, neighbours in zip(here.split(together), at_each_time, strict=True):
        arriving = flat.index_select(0, neighbours).view(-1, count)
        if not parity:
            flat.scatter_(0, neighbours, pixels.index_select(0, visited).view(-1))
        pixels.index_copy_(0, visited, arriving)
    return pixels.T.contiguous()


def draw_moves(images: Tensor, rng: Randomness, *, displacement: float, passes: float) -> Tensor:
    """Offsets for :func:`shuffle` at any real strengths: int32 (n, ⌈passes⌉, 2, h, w).

    A share of the visits that is the fraction of ``displacement`` uses the next whole number, the others the one below;
    the last pass moves only the share of its visits that is the fraction of ``passes``. A draw is the same at all
    strengths.
    """
    shape = images.shape[-2:]
    moves = images.new_empty(len(images), math.ceil(passes), 2, *shape)
    for number in range(moves.shape[1]):
        # One draw has 24 random bits: 12 for the direction down, 12 for that to the right.
        drawn = rng.uniform(f"glass_blur directions {number}", shape, like=images)
        down, right = moves[:, number, 0], moves[:, number, 1]
        right.copy_(drawn).mul_(4096)
        down.copy_(right).floor_()
        right.sub_(down)
        down.div_(4096)
        # In [-1, 1), so that whole reaches give offsets in [-reach, reach) of equal chance.
        directions = moves[:, number].mul_(2).sub_(1)
        if displacement % 1:
            further = rng.uniform(f"glass_blur further {number}", (1, *shape), like=images) < displacement % 1
            directions *= math.floor(displacement) + further
        else:
            directions *= displacement
        if passes - number < 1:
            directions *= rng.uniform(f"glass_blur moved {number}", (1, *shape), like=images) < passes - number
        directions.floor_()
    return moves.int()


def glass_blur(
    images: Tensor, rng: Randomness, *, deviation: float, displacement: float, passes: float, parity: bool = False
) -> Tensor:
    """Gaussian blur, local shuffle, Gaussian blur: (n, 3, h, w) in [0, 1]; lengths in pixels.

    ``deviation`` of both blurs, largest ``displacement`` of a swap, number of ``passes`` over all pixels; 0 for all is
    the identity.

    The paper swaps pixels. The published code means to, but assigns views of a NumPy array, so that a visited pixel
    becomes a copy of its neighbour and the neighbour stays: up to 70 % of the pixels are lost and what is left drifts
    by 1 to 2 pixels to the bottom right. ImageNet-C is made so; ``parity=True`` does the same. On photos the change is
    then 2 to 20 % larger (standard deviation), and its power at the lowest frequencies 4 to 36 times as large. The
    published truncation to bytes after the first blur darkens by half a step of 255 and is left out.
    """
    blurred = gaussian_filter(images, deviation)
    reach = math.ceil(displacement)
    if reach > 0 and passes > 0 and len(images):
        moves = draw_moves(images, rng, displacement=displacement, passes=passes)
        at_once = max(PIXELS_AT_ONCE // images[0, 0].numel(), 1)
        blurred = torch.stack(
            [
                image.index_select(1, pixels)
                for part, its_moves in zip(blurred.flatten(2).split(at_once), moves.split(at_once), strict=True)
                for image, pixels in zip(part, shuffle(its_moves, reach, parity=parity), strict=True)
            ]
        ).view(images.shape)
    return gaussian_filter(blurred, deviation).clamp_(0, 1)
