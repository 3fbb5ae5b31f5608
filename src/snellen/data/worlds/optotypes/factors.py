"""The factors of a scene: which values there are, what they look like, and from where on a number has another name.

Lengths are shares of half the image's side: the image spans −1 to 1, x to the right and y downwards. Between the ranges
of neighbouring names lie gaps, from which nothing is drawn on purpose, so that no picture is ambiguous by accident.
"""

from __future__ import annotations

import math
from typing import Literal, get_args

Shape = Literal["circle", "square", "triangle", "star", "cross", "ring", "heart", "crescent", "arrow", "hourglass"]
Colour = Literal["red", "orange", "yellow", "green", "cyan", "blue", "purple", "white"]
Texture = Literal["plain", "striped", "dotted", "checkered"]
Size = Literal["tiny", "small", "medium", "large"]
Tilt = Literal["upright", "tilted left", "tilted right"]
Column = Literal["left", "centre", "right"]
Row = Literal["top", "middle", "bottom"]
Background = Literal["grey", "grass", "sand", "brick", "water", "night"]
Lighting = Literal["dim", "bright"]
Style = Literal["photo", "line", "stippled", "inverted"]
Nuisance = Literal["fog", "snow", "rain", "blur", "noise", "stroke"]

SHAPES: tuple[Shape, ...] = get_args(Shape)
COLOURS: tuple[Colour, ...] = get_args(Colour)
TEXTURES: tuple[Texture, ...] = get_args(Texture)
SIZES: tuple[Size, ...] = get_args(Size)
TILTS: tuple[Tilt, ...] = get_args(Tilt)
COLUMNS: tuple[Column, ...] = get_args(Column)
ROWS: tuple[Row, ...] = get_args(Row)
BACKGROUNDS: tuple[Background, ...] = get_args(Background)
LIGHTINGS: tuple[Lighting, ...] = get_args(Lighting)
STYLES: tuple[Style, ...] = get_args(Style)
NUISANCES: tuple[Nuisance, ...] = get_args(Nuisance)

#: Colours of objects, sRGB in [0, 1].
COLOUR_VALUES: dict[Colour, tuple[float, float, float]] = {
    "red": (0.85, 0.10, 0.12),
    "orange": (0.96, 0.55, 0.08),
    "yellow": (0.95, 0.88, 0.15),
    "green": (0.10, 0.62, 0.20),
    "cyan": (0.15, 0.80, 0.82),
    "blue": (0.12, 0.25, 0.85),
    "purple": (0.58, 0.16, 0.72),
    "white": (0.96, 0.96, 0.94),
}

#: Radii of objects by name.
RADII: dict[Size, tuple[float, float]] = {
    "tiny": (0.24, 0.30),
    "small": (0.44, 0.50),
    "medium": (0.58, 0.65),
    "large": (0.74, 0.82),
}

#: Clockwise rotation by name, radians.
ROTATIONS: dict[Tilt, tuple[float, float]] = {
    "upright": (-0.04, 0.04),
    "tilted left": (-0.42, -0.26),
    "tilted right": (0.26, 0.42),
}

#: Shapes whose outline is the same however it is turned: their tilt is not described.
ROUND: frozenset[Shape] = frozenset({"circle", "ring"})

#: An object is in the centre (the middle) up to the first distance, and beside it from the second on.
CENTRAL, ASIDE = 0.05, 0.14

#: Level of the light by name.
LEVELS: dict[Lighting, tuple[float, float]] = {"dim": (0.50, 0.62), "bright": (0.88, 1.0)}

#: An object is left of (above) another when the distance along that axis exceeds that along the other by this factor.
RELATION_RATIO = 1.5


def size_of(radius: float) -> Size:
    """Name of a radius: the range that it lies in, or the nearest.

    >>> size_of(0.46)
    'small'
    """
    return min(SIZES, key=lambda name: _distance(radius, RADII[name]))


def tilt_of(rotation: float) -> Tilt:
    """Name of a clockwise rotation in radians, taken between −π and π.

    >>> tilt_of(0.3), tilt_of(2 * math.pi)
    ('tilted right', 'upright')
    """
    turned = math.remainder(rotation, 2 * math.pi)
    return min(TILTS, key=lambda name: _distance(turned, ROTATIONS[name]))


def column_of(x: float) -> Column:
    """Name of a place from left to right."""
    return COLUMNS[_third(x)]


def row_of(y: float) -> Row:
    """Name of a place from top to bottom."""
    return ROWS[_third(y)]


def lighting_of(level: float) -> Lighting:
    """Name of a level of light."""
    return min(LIGHTINGS, key=lambda name: _distance(level, LEVELS[name]))


def _third(place: float) -> int:
    border = (CENTRAL + ASIDE) / 2
    return 1 + (place > border) - (place < -border)


def _distance(value: float, interval: tuple[float, float]) -> float:
    low, high = interval
    return max(low - value, value - high, 0.0)
