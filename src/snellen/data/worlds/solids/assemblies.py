"""Ten kinds of objects that people name, each made of a few simple solids with its own proportions.

z points up, and a front faces −y, where the camera stands at azimuth 0. From most sides the kinds are distinct at a
glance; from some they are not: a mug hides its handle, a tree, a lamp, a rocket and a snowman seen along their axis are
circles in circles, a table from below is a chair.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal, get_args

import numpy as np

from snellen.core.errors import unknown_name
from snellen.core.randomness import derive_seed
from snellen.data.worlds.solids.part import Kind, Part, Solid, Vector, placed

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


SolidClass = Literal["barbell", "car", "chair", "house", "lamp", "mug", "rocket", "snowman", "table", "tree"]

SOLID_CLASSES: tuple[SolidClass, ...] = get_args(SolidClass)

_SQUARE = ((-1, -1), (-1, 1), (1, -1), (1, 1))


def draw_solid(class_name: SolidClass, seed: int) -> Solid:
    """One individual of a class: proportions and colours are functions of the seed.

    Colours are drawn in the same way for every class: three of a palette that all classes share, the first for the
    largest part.

    >>> draw_solid("mug", 1) == draw_solid("mug", 1), len(draw_solid("mug", 1).parts)
    (True, 6)

    Args:
        class_name: one of :data:`SOLID_CLASSES`.
        seed: at least 0.

    Raises:
        UnknownNameError: there is no such class.
    """
    if class_name not in _MAKE:
        raise unknown_name("class of solids", class_name, SOLID_CLASSES)
    colours = draw_colours(np.random.default_rng(derive_seed(seed, "colours")))
    rng = np.random.default_rng(derive_seed(seed, "proportions"))
    return placed(class_name, _MAKE[class_name](rng, colours))


def _barbell(rng: np.random.Generator, colours: Colours) -> list[Part]:
    main, second, third = colours
    radius, thick, half = rng.uniform(0.42, 0.58), rng.uniform(0.07, 0.11), rng.uniform(0.9, 1.15)
    smaller, reach = radius * rng.uniform(0.6, 0.8), rng.uniform(0.12, 0.2)
    parts = [_rod("cylinder", rng.uniform(0.045, 0.065), half + 2 * thick + reach, (0, 0, 0), second, (0, 90, 0))]
    for side in (-1, 1):
        parts.append(_rod("cylinder", radius, thick, (side * half, 0, 0), main, (0, 90, 0)))
        parts.append(_rod("cylinder", smaller, thick * 0.8, (side * (half + 1.8 * thick), 0, 0), third, (0, 90, 0)))
    return parts


def _car(rng: np.random.Generator, colours: Colours) -> list[Part]:
    main, second, third = colours
    length, width, height = rng.uniform(0.95, 1.2), rng.uniform(0.42, 0.52), rng.uniform(0.15, 0.22)
    wheel, cabin = rng.uniform(0.2, 0.26), rng.uniform(0.15, 0.2)
    back, half = rng.uniform(0.05, 0.25), rng.uniform(0.45, 0.6) * length
    base = wheel + height
    parts = [
        _box((length, width, height), (0, 0, base), main),
        _box((half, width * 0.88, cabin), (back, 0, base + height + cabin), second),
        _box((half * 0.94, width * 0.9, cabin * 0.12), (back, 0, base + height + 2.1 * cabin), main),
    ]
    for x, y in _SQUARE:
        centre = (x * length * 0.62, y * (width - 0.03), wheel)
        parts.append(_rod("cylinder", wheel, 0.09, centre, third, (90, 0, 0)))
    return parts


def _chair(rng: np.random.Generator, colours: Colours) -> list[Part]:
    main, second, third = colours
    width, depth, thick = rng.uniform(0.42, 0.5), rng.uniform(0.4, 0.48), rng.uniform(0.045, 0.07)
    seat, back, leg = rng.uniform(0.75, 0.95), rng.uniform(0.45, 0.65), rng.uniform(0.045, 0.065)
    lean = rng.uniform(0, 12)
    behind = depth - thick + math.sin(math.radians(lean)) * back
    parts = [
        _box((width, depth, thick), (0, 0, seat), main),
        _box((width, thick, back), (0, behind, seat + back * 0.98), second, (-lean, 0, 0)),
    ]
    for x, y in _SQUARE:
        parts.append(_box((leg, leg, seat / 2), (x * (width - leg), y * (depth - leg), seat / 2), third))
    return parts


def _house(rng: np.random.Generator, colours: Colours) -> list[Part]:
    main, second, third = colours
    width, depth, height = rng.uniform(0.55, 0.7), rng.uniform(0.6, 0.85), rng.uniform(0.42, 0.58)
    eaves, door = width * rng.uniform(0.14, 0.24), rng.uniform(0.12, 0.16)
    slope, thick = math.sqrt(0.5), 0.035
    aside, chimney = rng.uniform(-0.2, 0.2) * width, rng.uniform(0.07, 0.1)
    parts = [
        _box((width, depth, height), (0, 0, height), main),
        # A cube on its edge: the gables stand out of the walls, and the rest is within them.
        _box((width * slope, depth * 0.995, width * slope), (0, 0, 2 * height), main, (0, 45, 0)),
        _box((door, 0.03, height * 0.55), (aside, -depth, height * 0.55), third),
        _box((chimney, chimney, 0.3), (width * 0.5, depth * rng.uniform(-0.5, 0.5), 2 * height + width * 0.8), third),
    ]
    for side in (-1, 1):
        # From a little beyond the ridge, where both slabs meet, to the eaves.
        along, out = (width + eaves) / 2 - thick * slope / 2, thick * slope
        centre = (side * (along + out), 0.0, 2 * height + width - along + out)
        slab = ((width + eaves) * slope + thick / 2, depth * 1.1, thick)
        parts.append(_box(slab, centre, second, (0, side * 45, 0)))
        window = (0.03, depth * 0.2, height * 0.24)
        parts.append(_box(window, (side * width, 0, height * 1.1), third))
    return parts


def _lamp(rng: np.random.Generator, colours: Colours) -> list[Part]:
    main, second, third = colours
    foot, pole, height = rng.uniform(0.3, 0.42), rng.uniform(0.04, 0.06), rng.uniform(1.5, 1.9)
    shade, half, narrow = rng.uniform(0.5, 0.65), rng.uniform(0.3, 0.42), rng.uniform(0.45, 0.7)
    return [
        _cone(shade, half, (0, 0, height), main, narrow),
        _rod("cylinder", pole, height / 2, (0, 0, height / 2), second),
        _rod("cylinder", foot, 0.05, (0, 0, 0.05), third),
        _ball(0.09, (0, 0, height + half + 0.04), third),
    ]


def _mug(rng: np.random.Generator, colours: Colours) -> list[Part]:
    main, second, third = colours
    radius, half, grip = rng.uniform(0.42, 0.52), rng.uniform(0.48, 0.62), rng.uniform(0.06, 0.08)
    reach, spread = rng.uniform(0.26, 0.36), half * rng.uniform(0.42, 0.58)
    wall, level = rng.uniform(0.84, 0.9), half * rng.uniform(0.4, 0.75)
    parts = [
        Part(kind="tube", half_sizes=(radius, radius, half), colour=main, ratio=wall),
        _rod("cylinder", radius * (wall + 0.03), (half + level) / 2, (0, 0, (level - half) / 2), second),
    ]
    inner, out = radius * (1 + wall) / 2, radius + reach
    for side in (-1, 1):
        # From within the wall, so that nothing is seen of it inside.
        centre = ((inner + out) / 2, 0, side * spread)
        parts.append(_rod("cylinder", grip, (out - inner) / 2, centre, third, (0, 90, 0)))
    parts.append(_rod("capsule", grip, spread + grip, (out, 0, 0), third))
    parts.append(_rod("cylinder", radius * 0.9, 0.03, (0, 0, -half - 0.02), main))
    return parts


def _rocket(rng: np.random.Generator, colours: Colours) -> list[Part]:
    main, second, third = colours
    radius, half, nose = rng.uniform(0.26, 0.34), rng.uniform(0.6, 0.8), rng.uniform(0.26, 0.38)
    fin, high, fins = rng.uniform(0.16, 0.26), rng.uniform(0.22, 0.32), int(rng.integers(3, 5))
    parts = [
        _rod("cylinder", radius, half, (0, 0, 0), main),
        _cone(radius, nose, (0, 0, half + nose), second, 0.0),
        _cone(radius * 0.8, 0.1, (0, 0, -half - 0.1), third, 0.75),
        _ball(radius * 0.42, (0, -radius * 0.8, half * 0.45), third),
    ]
    start = rng.uniform(0, 360)
    for number in range(fins):
        angle = start + number * 360 / fins
        away = radius + fin * 0.7
        centre = (away * math.cos(math.radians(angle)), away * math.sin(math.radians(angle)), -half + high * 0.6)
        parts.append(_box((fin, 0.035, high), centre, second, (0, 0, angle)))
    return parts


def _snowman(rng: np.random.Generator, colours: Colours) -> list[Part]:
    main, second, third = colours
    low, middle, head = rng.uniform(0.5, 0.58), rng.uniform(0.36, 0.42), rng.uniform(0.25, 0.3)
    waist = 2 * low + middle * 0.62 - 0.12
    neck = waist + middle * 0.8 + head * 0.7
    brim, tall = head * rng.uniform(1.1, 1.35), rng.uniform(0.13, 0.2)
    top = neck + head * 0.82
    return [
        _ball(low, (0, 0, low), main),
        _ball(middle, (0, 0, waist), main),
        _ball(head, (0, 0, neck), main),
        _cone(0.07, 0.17, (0, -head - 0.12, neck), second, 0.0, (90, 0, 0)),
        _rod("cylinder", brim, 0.03, (0, 0, top), third),
        _rod("cylinder", head * 0.78, tall, (0, 0, top + tall), third),
        _ball(0.06, (0, -middle * 0.97, waist + 0.08), third),
    ]


def _table(rng: np.random.Generator, colours: Colours) -> list[Part]:
    main, second, _ = colours
    width, depth, height = rng.uniform(0.75, 0.95), rng.uniform(0.5, 0.7), rng.uniform(0.65, 0.85)
    thick, leg, inset = rng.uniform(0.04, 0.07), rng.uniform(0.05, 0.08), rng.uniform(0.78, 0.94)
    kind: Kind = "cylinder" if rng.uniform() < 0.4 else "box"
    inset = inset * 0.72 if kind == "cylinder" else inset  # the corners of a round top are cut off
    top = Part(kind=kind, half_sizes=(width, depth, thick), centre=(0, 0, height), colour=main)
    return [top] + [
        _rod("cylinder", leg, height / 2, (x * width * inset, y * depth * inset, height / 2), second)
        for x, y in _SQUARE
    ]


def _tree(rng: np.random.Generator, colours: Colours) -> list[Part]:
    main, second, third = colours
    trunk, stem, crown = rng.uniform(0.09, 0.14), rng.uniform(0.3, 0.45), rng.uniform(0.5, 0.62)
    parts = [_rod("cylinder", trunk, stem, (0, 0, stem), second)]
    if rng.uniform() < 0.5:  # a fir
        tiers = int(rng.integers(2, 4))
        half = rng.uniform(0.38, 0.46)
        for tier in range(tiers):
            shrink = 1 - 0.24 * tier
            centre = (0.0, 0.0, 2 * stem + half * (0.6 + 0.95 * tier))
            parts.append(_cone(crown * shrink, half * shrink, centre, third if tier == tiers - 1 else main, 0.06))
        return parts
    start, size, away = rng.uniform(0, 120), crown * rng.uniform(0.56, 0.66), crown * rng.uniform(0.36, 0.46)
    base = 2 * stem + size * 0.7
    for blob in range(3):
        angle = math.radians(start + 120 * blob + rng.uniform(-12, 12))
        parts.append(_ball(size, (away * math.cos(angle), away * math.sin(angle), base + rng.uniform(0, 0.06)), main))
    return [*parts, _ball(size * 0.95, (0, 0, base + size * rng.uniform(0.75, 0.95)), third)]


_MAKE: dict[SolidClass, Callable[[np.random.Generator, Colours], list[Part]]] = {
    "barbell": _barbell,
    "car": _car,
    "chair": _chair,
    "house": _house,
    "lamp": _lamp,
    "mug": _mug,
    "rocket": _rocket,
    "snowman": _snowman,
    "table": _table,
    "tree": _tree,
}


def _box(half_sizes: Vector, centre: Vector, colour: Vector, turn: Vector = (0, 0, 0)) -> Part:
    return Part(kind="box", half_sizes=half_sizes, centre=centre, colour=colour, turn=turn)


def _ball(radius: float, centre: Vector, colour: Vector) -> Part:
    return Part(kind="ellipsoid", half_sizes=(radius, radius, radius), centre=centre, colour=colour)


def _rod(
    kind: Literal["cylinder", "capsule"],
    radius: float,
    half: float,
    centre: Vector,
    colour: Vector,
    turn: Vector = (0, 0, 0),
) -> Part:
    return Part(kind=kind, half_sizes=(radius, radius, half), centre=centre, colour=colour, turn=turn)


def _cone(radius: float, half: float, centre: Vector, colour: Vector, upper: float, turn: Vector = (0, 0, 0)) -> Part:
    return Part(kind="cone", half_sizes=(radius, radius, half), centre=centre, colour=colour, ratio=upper, turn=turn)
