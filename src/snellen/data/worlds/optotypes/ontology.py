"""Kinds of values: what a value is besides itself, which values are near each other, and what is true of a scene."""

from __future__ import annotations

import math
from functools import cache

from snellen.core.errors import unknown_name
from snellen.data.worlds.optotypes.described import (
    INVERSE,
    OBJECT_FACTORS,
    PLACES,
    RELATIONS,
    Described,
    DescribedObject,
)
from snellen.data.worlds.optotypes.factors import (
    BACKGROUNDS,
    COLOUR_VALUES,
    COLOURS,
    COLUMNS,
    LIGHTINGS,
    NUISANCES,
    SHAPES,
    SIZES,
    STYLES,
    TEXTURES,
    TILTS,
)

#: Values of each factor.
VALUES: dict[str, tuple[str, ...]] = {
    "shape": SHAPES,
    "colour": COLOURS,
    "texture": TEXTURES,
    "size": SIZES,
    "tilt": TILTS,
    "place": PLACES,
    "relation": RELATIONS,
    "background": BACKGROUNDS,
    "lighting": LIGHTINGS,
    "style": STYLES,
    "nuisance": NUISANCES,
}

#: Kinds that values belong to. Values with more kinds in common are nearer each other.
KINDS: dict[str, dict[str, tuple[str, ...]]] = {
    "shape": {
        "circle": ("curved", "convex", "round"),
        "square": ("angular", "convex"),
        "triangle": ("angular", "convex", "pointed"),
        "star": ("angular", "pointed", "indented"),
        "cross": ("angular", "indented"),
        "ring": ("curved", "round", "hollow"),
        "heart": ("curved", "pointed", "indented"),
        "crescent": ("curved", "pointed", "indented", "lopsided"),
        "arrow": ("angular", "pointed", "indented", "directed"),
        "hourglass": ("angular", "indented", "waisted"),
    },
    "colour": {
        "red": ("coloured", "warm"),
        "orange": ("coloured", "warm"),
        "yellow": ("coloured", "warm"),
        "green": ("coloured", "cold"),
        "cyan": ("coloured", "cold"),
        "blue": ("coloured", "cold"),
        "purple": ("coloured", "cold"),
        "white": ("neutral",),
    },
    "texture": {
        "plain": ("unpatterned",),
        "striped": ("patterned", "lined"),
        "dotted": ("patterned", "spotty"),
        "checkered": ("patterned", "lined"),
    },
    "size": {"tiny": ("below medium",), "small": ("below medium",), "medium": (), "large": ("above medium",)},
    "tilt": {"upright": (), "tilted left": ("tilted",), "tilted right": ("tilted",)},
    "place": {place: tuple(f"{side} part" for side in place.split() if side != "centre") for place in PLACES},
    "relation": {
        "left of": ("side by side",),
        "right of": ("side by side",),
        "above": ("one above the other",),
        "below": ("one above the other",),
    },
    "background": {
        "grey": ("artificial", "smooth"),
        "brick": ("artificial", "rough"),
        "grass": ("natural", "rough"),
        "sand": ("natural", "rough"),
        "water": ("natural", "smooth"),
        "night": ("natural", "dark"),
    },
    "lighting": {"dim": (), "bright": ()},
    "style": {
        "photo": ("photographic",),
        "inverted": ("photographic", "altered"),
        "line": ("drawn",),
        "stippled": ("drawn", "dots of ink"),
    },
    "nuisance": {
        "fog": ("weather", "veiled"),
        "snow": ("weather", "precipitation"),
        "rain": ("weather", "precipitation"),
        "blur": ("camera", "veiled"),
        "noise": ("camera",),
        "stroke": ("hand",),
    },
}


@cache
def nearest(factor: str, value: str) -> tuple[str, ...]:
    """Other values of a factor, the nearest first.

    Colours are ordered by their distance in sRGB, sizes and places by steps, the rest by the share of kinds that two
    values have in common (Jaccard index); equal ones keep the order of :data:`VALUES`.

    >>> nearest("colour", "red")[:2], nearest("size", "large"), nearest("nuisance", "snow")[:2]
    (('orange', 'purple'), ('medium', 'small', 'tiny'), ('rain', 'fog'))

    Args:
        factor: one of :data:`VALUES`.
        value: one of its values.

    Raises:
        InputError: no such factor or value.
    """
    if factor not in VALUES:
        raise unknown_name("factor of the ontology", factor, VALUES)
    if value not in VALUES[factor]:
        raise unknown_name(f"{factor} of the ontology", value, VALUES[factor])
    others = [other for other in VALUES[factor] if other != value]
    return tuple(sorted(others, key=lambda other: _distance(factor, value, other)))


def attributes(described: Described, *, bound: bool = False) -> frozenset[str]:
    """All that a description makes true, kinds included, as "factor: value".

    >>> star = DescribedObject(shape="star", colour="red")
    >>> sorted(attributes(Described(objects=(star,), background="grass")))[:4]
    ['background: grass', 'background: natural', 'background: rough', 'colour: coloured']

    What is absent is no attribute. Relations are listed both ways.

    Args:
        described: a description, partial or full.
        bound: also name the shape that has each attribute of an object ("star with colour: red"); without it, a red
            star and a blue ring have the attributes of a blue star and a red ring.
    """
    found: set[str] = set()
    objects = described.objects or ()
    for one in objects:
        own = {name for factor in OBJECT_FACTORS for name in _with_kinds(factor, getattr(one, factor))}
        found |= own
        if bound:
            found |= {f"{_called(one)} with {name}" for name in own if not name.startswith("shape: ")}
    for relation in described.relations:
        first, second = _called(objects[relation.first]), _called(objects[relation.second])
        found.add(f"relation: {first} {relation.relation} {second}")
        found.add(f"relation: {second} {INVERSE[relation.relation]} {first}")
        found |= {f"relation: {kind}" for kind in KINDS["relation"][relation.relation]}
    for factor in ("background", "lighting", "style"):
        found.update(_with_kinds(factor, getattr(described, factor)))
    for nuisance in NUISANCES:
        degree = described.nuisances.degree(nuisance)
        if degree not in (None, "absent"):
            found.update(_with_kinds("nuisance", nuisance))
            if degree != "some":
                found.add(f"nuisance: {degree} {nuisance}")
    if described.lettering:
        found |= {"lettering: text", f"lettering: {described.lettering}"}
    return frozenset(found)


@cache
def _with_kinds(factor: str, value: str | None) -> tuple[str, ...]:
    if value is None:
        return ()
    return (f"{factor}: {value}", *(f"{factor}: {kind}" for kind in KINDS[factor][value]))


def _called(one: DescribedObject) -> str:
    return one.shape or "object"


def _distance(factor: str, value: str, other: str) -> float:
    if factor == "colour":
        return math.dist(COLOUR_VALUES[value], COLOUR_VALUES[other])  # type: ignore[index]
    numbers = VALUES[factor].index(value), VALUES[factor].index(other)
    if factor == "size":
        return abs(numbers[0] - numbers[1])
    if factor == "place":
        (row, column), (other_row, other_column) = (divmod(number, len(COLUMNS)) for number in numbers)
        return math.hypot(row - other_row, column - other_column)
    one, two = set(KINDS[factor][value]), set(KINDS[factor][other])
    return 1 - len(one & two) / len(one | two) if one | two else 1.0
