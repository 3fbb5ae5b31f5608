"""Draws for marks on an image (stains, bubbles, words), of which there are a random number at random places.

Numbers and sizes are given by their upper end, which may be any real number: a strength between two published ones.
"""

from __future__ import annotations

import math

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

    Those of the k-th mark are the same whatever ``most`` is.
    """
    blocks = [rng.uniform(f"{stream} {block}", (_BLOCK, width)) for block in range(max(1, math.ceil(most / _BLOCK)))]
    return [[mark for block in blocks for mark in block[row].tolist()] for row in range(len(blocks[0]))]
