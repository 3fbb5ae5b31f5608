"""Colours of objects: the same ones for every class, so that a colour says nothing about the class."""

from __future__ import annotations

import numpy as np

from snellen.data.worlds.solids.part import Vector

#: sRGB in [0, 1]; none is so bright that it is lost on a white ground.
PALETTE: tuple[Vector, ...] = (
    (0.80, 0.22, 0.20),  # brick red
    (0.93, 0.52, 0.18),  # orange
    (0.93, 0.77, 0.27),  # mustard
    (0.42, 0.66, 0.28),  # leaf green
    (0.13, 0.56, 0.52),  # teal
    (0.38, 0.66, 0.88),  # sky blue
    (0.19, 0.31, 0.62),  # navy
    (0.52, 0.33, 0.66),  # purple
    (0.90, 0.52, 0.62),  # pink
    (0.52, 0.35, 0.24),  # brown
    (0.88, 0.83, 0.72),  # cream
    (0.27, 0.29, 0.33),  # charcoal
)

#: Colour of the largest part, of another, and of details.
Colours = tuple[Vector, Vector, Vector]

_JITTER = 0.04


def draw_colours(rng: np.random.Generator) -> Colours:
    """Three colours of the palette, all different, each a little off.

    >>> len(set(draw_colours(np.random.default_rng(0))))
    3
    """
    chosen = rng.permutation(len(PALETTE))[:3]
    jitter = rng.uniform(-_JITTER, _JITTER, (3, 3))
    first, second, third = (
        _rounded(np.clip(np.asarray(PALETTE[number]) + offset, 0, 1))
        for number, offset in zip(chosen, jitter, strict=True)
    )
    return first, second, third


def _rounded(colour: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> Vector:
    red, green, blue = (round(tone, 4) for tone in colour.tolist())
    return red, green, blue
