"""Draw scenes: each is a function of a seed and what may occur in it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from snellen.core.errors import InputError
from snellen.data.worlds.optotypes.factors import (
    ASIDE,
    CENTRAL,
    COLUMNS,
    LEVELS,
    RADII,
    RELATION_RATIO,
    ROTATIONS,
    ROWS,
    Background,
    Colour,
    Lighting,
    Nuisance,
    Shape,
    Size,
    Style,
    Texture,
    Tilt,
)
from snellen.data.worlds.optotypes.lettering import CHARACTERS
from snellen.data.worlds.optotypes.scene import Lettering, Light, Nuisances, Scene, SceneObject

Value = TypeVar("Value")

#: Sizes that fit beside each other, and those of an object that is alone.
SIZES_OF_SEVERAL: tuple[Size, ...] = ("tiny", "small")
SIZES_OF_ONE: tuple[Size, ...] = ("small", "medium", "large")

#: Tries to place all objects of a scene before it is drawn anew, and scenes drawn anew before giving up.
_TRIES, _SCENES = 60, 200

#: Least distance of two objects, in the sum of their radii, and of an object from the edge, in its radius.
_APART, _FROM_EDGE = 0.95, 1.0


@dataclass(frozen=True, kw_only=True)
class Choices:
    """What may occur in a scene.

    Attributes:
        shapes, colours, textures, tilts, backgrounds, lightings, styles: values, each as likely.
        sizes: of objects; None means those that fit (:data:`SIZES_OF_ONE`, :data:`SIZES_OF_SEVERAL`).
        objects: least and largest number of objects.
        nuisances: each as likely, at most one a scene.
        nuisance_share: share of scenes with a nuisance.
        strengths: least and largest strength of a nuisance.
        lettering_share: share of scenes with text over them.
        individuals: numbers of individuals that objects may be; the ideal shape is 0.
    """

    shapes: Sequence[Shape]
    colours: Sequence[Colour]
    textures: Sequence[Texture]
    tilts: Sequence[Tilt]
    backgrounds: Sequence[Background]
    lightings: Sequence[Lighting]
    styles: Sequence[Style]
    sizes: Sequence[Size] | None = None
    objects: tuple[int, int] = (1, 1)
    nuisances: Sequence[Nuisance] = ()
    nuisance_share: float = 0.0
    strengths: tuple[float, float] = (1.0, 4.0)
    lettering_share: float = 0.0
    individuals: range = range(1)


def draw_scene(choices: Choices, seed: int) -> Scene:
    """Draw one scene.

    Several objects do not touch, no two have both shape and colour in common, and each pair is clearly side by side or
    clearly one above the other.

    Args:
        choices: what may occur.
        seed: of this scene, at least 0.

    Raises:
        InputError: objects of these sizes do not fit into a scene.
    """
    rng = np.random.default_rng(seed)
    background, style = _one(rng, choices.backgrounds), _one(rng, choices.styles)
    level = rng.uniform(*LEVELS[_one(rng, choices.lightings)])
    light = Light(
        level=level,
        warmth=rng.uniform(-0.6, 0.6),
        direction=rng.uniform(-math.pi / 2, math.pi / 2),
        unevenness=rng.uniform(0, 0.3),
    )
    nuisances = Nuisances()
    if choices.nuisances and rng.random() < choices.nuisance_share:
        nuisances = Nuisances(**{_one(rng, choices.nuisances): rng.uniform(*choices.strengths)})
    lettering = _lettering(rng) if rng.random() < choices.lettering_share else None
    return Scene(
        objects=_objects(rng, choices),
        background=background,
        light=light,
        style=style,
        nuisances=nuisances,
        lettering=lettering,
        seed=seed,
    )


def _objects(rng: np.random.Generator, choices: Choices) -> tuple[SceneObject, ...]:
    least, most = choices.objects
    count = int(rng.integers(least, most + 1))
    sizes = choices.sizes or (SIZES_OF_ONE if count == 1 else SIZES_OF_SEVERAL)
    for _ in range(_SCENES):
        looks: set[tuple[Shape, Colour]] = set()
        placed: list[SceneObject] = []
        for _ in range(_TRIES):
            if len(placed) == count:
                break
            one = _object(rng, choices, sizes)
            if (one.shape, one.colour) not in looks and all(_beside(one, other) for other in placed):
                placed.append(one)
                looks.add((one.shape, one.colour))
        if len(placed) == count:
            return tuple(placed)
    raise InputError(
        f"{count} objects do not fit into a scene with sizes {', '.join(sizes)}, {len(choices.shapes)} shapes and "
        f"{len(choices.colours)} colours; allow smaller sizes, fewer objects, or more shapes and colours"
    )


def _object(rng: np.random.Generator, choices: Choices, sizes: Sequence[Size]) -> SceneObject:
    radius = rng.uniform(*RADII[_one(rng, sizes)])
    limit = 1 - _FROM_EDGE * radius
    return SceneObject(
        shape=_one(rng, choices.shapes),
        colour=_one(rng, choices.colours),
        texture=_one(rng, choices.textures),
        radius=radius,
        x=_place(rng, int(rng.integers(len(COLUMNS))), limit),
        y=_place(rng, int(rng.integers(len(ROWS))), limit),
        rotation=rng.uniform(*ROTATIONS[_one(rng, choices.tilts)]),
        instance=choices.individuals[int(rng.integers(len(choices.individuals)))],
    )


def _place(rng: np.random.Generator, third: int, limit: float) -> float:
    """A place in one of three parts, away from their borders, or the middle part where the others are out of reach."""
    if third == 1 or limit <= ASIDE:
        return rng.uniform(-CENTRAL, CENTRAL)
    return (third - 1) * rng.uniform(ASIDE, limit)


def _beside(one: SceneObject, other: SceneObject) -> bool:
    across, down = abs(one.x - other.x), abs(one.y - other.y)
    apart = math.hypot(across, down) >= _APART * (one.radius + other.radius)
    return apart and max(across, down) > RELATION_RATIO * min(across, down)


def _lettering(rng: np.random.Generator) -> Lettering:
    letters = int(rng.integers(2, 6))
    return Lettering(
        text="".join(CHARACTERS[int(rng.integers(len(CHARACTERS)))] for _ in range(letters)),
        y=float(rng.choice([-0.84, 0.84])),
        height=0.22,
    )


def _one(rng: np.random.Generator, values: Sequence[Value]) -> Value:
    return values[int(rng.integers(len(values)))]
