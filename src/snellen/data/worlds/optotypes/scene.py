"""The record of a scene: everything that its picture follows from, also of several scenes as tensors."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, TypeVar

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from torch import Tensor

from snellen.core.errors import InputError
from snellen.core.refused_values import refused_values
from snellen.data.worlds.optotypes.factors import (
    COLOUR_VALUES,
    NUISANCES,
    Background,
    Colour,
    Column,
    Lighting,
    Nuisance,
    Row,
    Shape,
    Size,
    Style,
    Texture,
    Tilt,
    column_of,
    lighting_of,
    row_of,
    size_of,
    tilt_of,
)
from snellen.data.worlds.stable_arithmetic import cosine, sine

#: Strength of a nuisance: continuous, 0 is the identity.
Strength = Annotated[float, Field(ge=0, le=5, allow_inf_nan=False)]

#: Text that can be written over an image.
Letters = Annotated[str, Field(pattern=r"^[A-Z0-9]{1,12}$")]


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class SceneObject(_Record):
    """One object of a scene.

    >>> SceneObject(shape="star", colour="red", radius=0.5, x=-0.3).column
    'left'
    """

    shape: Shape
    colour: Colour
    texture: Texture = "plain"
    radius: float = Field(0.5, gt=0, le=2, description="of the circle about the shape, in half sides of the image")
    x: float = Field(0.0, ge=-2, le=2, description="centre, −1 is the left edge and 1 the right one")
    y: float = Field(0.0, ge=-2, le=2, description="centre, −1 is the upper edge and 1 the lower one")
    rotation: float = Field(0.0, ge=-math.tau, le=math.tau, description="clockwise, radians")
    instance: int = Field(0, ge=0, lt=2**31, description="which individual: 0 is the ideal shape, others deviate a bit")

    @property
    def size(self) -> Size:
        """Name of the radius."""
        return size_of(self.radius)

    @property
    def tilt(self) -> Tilt:
        """Name of the rotation."""
        return tilt_of(self.rotation)

    @property
    def column(self) -> Column:
        """Name of the place from left to right."""
        return column_of(self.x)

    @property
    def row(self) -> Row:
        """Name of the place from top to bottom."""
        return row_of(self.y)


class Light(_Record):
    """Light that falls on everything."""

    level: float = Field(1.0, gt=0, le=1, description="1 is full light")
    warmth: float = Field(0.0, ge=-1, le=1, description="−1 is bluish, 1 is reddish")
    direction: float = Field(0.0, ge=-math.tau, le=math.tau, description="from where, clockwise from above, radians")
    unevenness: float = Field(0.0, ge=0, le=1, description="how much the far side of the image is darker")

    @property
    def name(self) -> Lighting:
        """Name of the level."""
        return lighting_of(self.level)


class Lettering(_Record):
    """Text over the image."""

    text: Letters = Field(description="capital letters and digits")
    x: float = Field(0.0, ge=-1, le=1, description="centre of the text")
    y: float = Field(0.0, ge=-1, le=1, description="centre of the text")
    height: float = Field(0.25, gt=0, le=2, description="of a letter, in half sides of the image")
    colour: Colour = "white"
    opacity: float = Field(1.0, ge=0, le=1)


class Nuisances(_Record):
    """What makes a scene harder to see; each strength is continuous, and 0 changes nothing."""

    fog: Strength = 0.0
    snow: Strength = 0.0
    rain: Strength = 0.0
    blur: Strength = 0.0
    noise: Strength = 0.0
    stroke: Strength = Field(0.0, description="how unsteadily outlines are drawn")

    def strength(self, nuisance: Nuisance) -> float:
        """Strength of one nuisance by name."""
        found: float = getattr(self, nuisance)
        return found

    @property
    def present(self) -> tuple[Nuisance, ...]:
        """Nuisances of a strength above 0."""
        return tuple(nuisance for nuisance in NUISANCES if self.strength(nuisance) > 0)


class Scene(_Record):
    """A scene: objects on a background, under a light, in a style.

    Objects further on lie over those before them. ``seed`` decides what has no name: the grain of the background, the
    phase of textures, where snow falls. Under the same seed, a scene that is changed in one factor keeps all of that.

    >>> star = SceneObject(shape="star", colour="red", texture="striped")
    >>> scene = Scene(objects=(star,), background="grass", seed=7)
    >>> Scene.from_json(scene.to_json()) == scene
    True
    """

    objects: tuple[SceneObject, ...] = Field((), max_length=8)
    background: Background = "grey"
    light: Light = Light()
    style: Style = "photo"
    nuisances: Nuisances = Nuisances()
    lettering: Lettering | None = None
    seed: int = Field(0, ge=0, lt=2**63)

    def to_json(self) -> str:
        """The record as JSON text; equal scenes give equal text."""
        return self.model_dump_json()

    @classmethod
    def from_json(cls, text: str) -> Scene:
        """Read a record.

        Raises:
            InputError: it is no scene; the message says which field is wrong.
        """
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            wrong = refused_values(error, "scene")
            raise InputError(f"not the record of a scene: {wrong}") from error


Name = TypeVar("Name", bound=str)


@dataclass(frozen=True, eq=False)
class Layer:
    """The objects that are the k-th of their scenes.

    Attributes:
        scenes: positions of their scenes in the batch, int64 (m,).
        seeds: of their scenes, int64 (m,).
        places: x, y, radius, cosine and sine of the rotation, float32 (m, 5).
        colours: float32 (m, 3) in [0, 1].
        instances: int64 (m,).
        shapes: shape → positions of its objects in this layer.
        textures: texture → positions of its objects in this layer.
        stroke: how unsteadily outlines are drawn, float32 (m,).
    """

    scenes: Tensor
    seeds: Tensor
    places: Tensor
    colours: Tensor
    instances: Tensor
    shapes: dict[Shape, Tensor]
    textures: dict[Texture, Tensor]
    stroke: Tensor


@dataclass(frozen=True, eq=False)
class SceneTensors:
    """A batch of scenes.

    Attributes:
        scenes: the records.
        seeds: int64 (n,).
        light: level, warmth, direction and unevenness, float32 (n, 4).
        nuisances: strength of each, float32 (n, number of nuisances).
        layers: objects, the lowest first.
    """

    scenes: Sequence[Scene]
    seeds: Tensor
    light: Tensor
    nuisances: Tensor
    layers: tuple[Layer, ...]


def scene_tensors(scenes: Sequence[Scene]) -> SceneTensors:
    """Collect what the renderer computes with."""
    lights = [scene.light for scene in scenes]
    strengths = torch.tensor([[scene.nuisances.strength(name) for name in NUISANCES] for scene in scenes])
    seeds = torch.tensor([scene.seed for scene in scenes], dtype=torch.int64)
    most = max((len(scene.objects) for scene in scenes), default=0)
    return SceneTensors(
        scenes=scenes,
        seeds=seeds,
        light=torch.tensor([[one.level, one.warmth, one.direction, one.unevenness] for one in lights]),
        nuisances=strengths,
        layers=tuple(_layer(scenes, seeds, strengths[:, NUISANCES.index("stroke")], number) for number in range(most)),
    )


def _layer(scenes: Sequence[Scene], seeds: Tensor, stroke: Tensor, number: int) -> Layer:
    chosen = [position for position, scene in enumerate(scenes) if len(scene.objects) > number]
    objects = [scenes[position].objects[number] for position in chosen]
    rotations = torch.tensor([one.rotation for one in objects])
    rows = torch.tensor(chosen)
    places = torch.tensor([[one.x, one.y, one.radius] for one in objects])
    return Layer(
        scenes=rows,
        seeds=seeds[rows] + number * 7919,  # two objects of one scene must not deviate alike
        places=torch.cat([places, cosine(rotations)[:, None], sine(rotations)[:, None]], 1),
        colours=torch.tensor([COLOUR_VALUES[one.colour] for one in objects]),
        instances=torch.tensor([one.instance for one in objects]),
        shapes=_positions([one.shape for one in objects]),
        textures=_positions([one.texture for one in objects]),
        stroke=stroke[rows],
    )


def _positions(names: Sequence[Name]) -> dict[Name, Tensor]:
    """Positions of each name that occurs."""
    found: dict[Name, list[int]] = {}
    for position, name in enumerate(names):
        found.setdefault(name, []).append(position)
    return {name: torch.tensor(found[name]) for name in sorted(found)}
