"""A set of random scenes, described by its parameters."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal, TypeVar

import numpy as np
from pydantic import Field, model_validator

from snellen.core.errors import InputError
from snellen.core.images import ImageSet, Split
from snellen.core.method import Method
from snellen.core.randomness import derive_seed
from snellen.data.worlds.optotypes.factors import (
    ASIDE,
    BACKGROUNDS,
    CENTRAL,
    COLOURS,
    COLUMNS,
    LEVELS,
    NUISANCES,
    RADII,
    RELATION_RATIO,
    ROTATIONS,
    ROWS,
    SHAPES,
    TEXTURES,
    TILTS,
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
from snellen.data.worlds.optotypes.rendering import LARGEST_SIZE, LEAST_SIZE
from snellen.data.worlds.optotypes.scene import Lettering, Light, Nuisances, Scene, SceneObject, Strength
from snellen.data.worlds.optotypes.scene_set import LABELS, scene_images

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


Share = Annotated[float, Field(ge=0, le=1)]

LabelFactor = Literal["shape", "colour", "texture", "size", "tilt", "column", "row", "background", "lighting", "style"]

#: Individuals of a split are numbered from here on, so that no two splits share one.
_FIRST_INDIVIDUAL: dict[Split, int] = {"train": 1, "val": 1_000_001, "test": 2_000_001}

#: Far fewer than lie between the first numbers of two splits.
_MOST_INDIVIDUALS = 10_000


class Scenes(Method):
    """Random scenes. What is not narrowed varies over all its values.

    >>> Scenes(count=3, shapes=("star", "ring")).images(split="train")
    ImageSet('optotypes scenes', 3 images, 2 classes, split=train)
    """

    name: ClassVar[str] = "scenes"

    count: int = Field(1000, ge=1, le=1_000_000, description="images in each split")
    size: int = Field(32, ge=LEAST_SIZE, le=LARGEST_SIZE, description="side of the images, pixels")
    label: LabelFactor = Field("shape", description="the factor that is the class, of the first object or the scene")
    objects: tuple[int, int] = Field((1, 1), description="least and largest number of objects, 1 to 4")
    shapes: tuple[Shape, ...] = Field(SHAPES, min_length=1, description="shapes that occur")
    colours: tuple[Colour, ...] = Field(COLOURS, min_length=1, description="colours that occur")
    textures: tuple[Texture, ...] = Field(TEXTURES, min_length=1, description="textures that occur")
    sizes: tuple[Size, ...] | None = Field(
        None,
        min_length=1,
        description="sizes that occur; left out, those that fit: tiny and small for several objects, small to large "
        "for one",
    )
    tilts: tuple[Tilt, ...] = Field(TILTS, min_length=1, description="tilts that occur")
    backgrounds: tuple[Background, ...] = Field(BACKGROUNDS, min_length=1, description="backgrounds that occur")
    lightings: tuple[Lighting, ...] = Field(("bright",), min_length=1, description="lightings that occur")
    styles: tuple[Style, ...] = Field(("photo",), min_length=1, description="styles that occur")
    nuisances: tuple[Nuisance, ...] = Field(NUISANCES, description="nuisances that occur, at most one in a scene")
    nuisance_share: Share = Field(0.0, description="share of scenes with a nuisance")
    strengths: tuple[Strength, Strength] = Field((1.0, 4.0), description="least and largest strength of a nuisance")
    lettering_share: Share = Field(0.0, description="share of scenes with text over them")
    individuals: int = Field(
        0,
        ge=0,
        le=_MOST_INDIVIDUALS,
        description="individuals of each class in each split, which deviate a little from the ideal shape; 0 shows the "
        "ideal shape alone. No two splits share an individual",
    )
    captions: bool = Field(True, description="whether the table has captions")
    seed: int = Field(0, description="seed of everything random")

    @model_validator(mode="after")
    def _in_order(self) -> Scenes:
        least, most = self.objects
        if not 1 <= least <= most <= 4:
            raise ValueError(f"objects must be two numbers from 1 to 4, the smaller one first; got {least}, {most}")
        for field in (
            "shapes",
            "colours",
            "textures",
            "sizes",
            "tilts",
            "backgrounds",
            "lightings",
            "styles",
            "nuisances",
        ):
            values = getattr(self, field) or ()
            if len(set(values)) < len(values):
                raise ValueError(f"{field} must differ; got {', '.join(values)}")
        if self.strengths[0] > self.strengths[1]:
            raise ValueError(f"the least strength must come first; got {self.strengths[0]}, {self.strengths[1]}")
        return self

    def scenes(self, split: Split = "test") -> list[Scene]:
        """The records of one split; the n-th does not depend on how many there are.

        Raises:
            InputError: objects of these sizes do not fit into a scene.
        """
        return list(self.each_scene(split))

    def each_scene(self, split: Split = "test") -> Iterator[Scene]:
        """The records of :meth:`scenes`, each drawn when it is needed.

        Raises:
            InputError: objects of these sizes do not fit into a scene.
        """
        first = _FIRST_INDIVIDUAL[split]
        choices = Choices(
            shapes=self.shapes,
            colours=self.colours,
            textures=self.textures,
            sizes=self.sizes,
            tilts=self.tilts,
            backgrounds=self.backgrounds,
            lightings=self.lightings,
            styles=self.styles,
            objects=self.objects,
            nuisances=self.nuisances,
            nuisance_share=self.nuisance_share,
            strengths=self.strengths,
            lettering_share=self.lettering_share,
            individuals=range(first, first + self.individuals) if self.individuals else range(1),
        )
        for row in range(self.count):
            yield draw_scene(choices, derive_seed(self.seed, "scene", split, row))

    def images(self, *, split: Split = "test") -> ImageSet:
        """One split as an image set. ``unit_id`` is the individual of the first object, where there are individuals.

        Raises:
            InputError: objects of these sizes do not fit into a scene.
        """
        scenes = self.scenes(split)
        occurring = self._occurring()
        units = [f"{scene.objects[0].shape} {scene.objects[0].instance}" for scene in scenes]
        return scene_images(
            scenes,
            size=self.size,
            label=self.label,
            class_names=[value for value in LABELS[self.label][0] if value in occurring],
            ids=[f"{split}/{row:06d}" for row in range(self.count)],
            unit_ids=units if self.individuals else None,
            split=split,
            captions=self.captions,
            name="optotypes scenes",
        )

    def _occurring(self) -> frozenset[str]:
        """Values that the label may take."""
        narrowed: dict[str, tuple[str, ...]] = {
            "shape": self.shapes,
            "colour": self.colours,
            "texture": self.textures,
            "size": self.sizes or (SIZES_OF_ONE if self.objects == (1, 1) else SIZES_OF_SEVERAL + SIZES_OF_ONE),
            "tilt": self.tilts,
            "background": self.backgrounds,
            "lighting": self.lightings,
            "style": self.styles,
        }
        return frozenset(narrowed.get(self.label, LABELS[self.label][0]))
