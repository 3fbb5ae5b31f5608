"""The record of a scene: everything that its picture follows from."""

from __future__ import annotations

import math
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from snellen.core.errors import InputError
from snellen.data.worlds.optotypes.factors import (
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
            wrong = "; ".join(f"{'.'.join(map(str, e['loc'])) or 'scene'}: {e['msg']}" for e in error.errors())
            raise InputError(f"not the record of a scene: {wrong}") from error
