"""Descriptions of a scene in words: the names of its factors without its numbers, and their level of detail."""

from __future__ import annotations

from collections.abc import Collection
from typing import Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from snellen.core.errors import InputError, unknown_name
from snellen.core.refused_values import refused_values
from snellen.data.worlds.optotypes.factors import (
    COLUMNS,
    NUISANCES,
    RELATION_RATIO,
    ROUND,
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
from snellen.data.worlds.optotypes.lettering import GAP, HEIGHT, WIDTH
from snellen.data.worlds.optotypes.scene import Lettering, Scene, SceneObject

Relation = Literal["left of", "right of", "above", "below"]

RELATIONS: tuple[Relation, ...] = get_args(Relation)

#: What the second object is to the first, when the first is this to the second.
INVERSE: dict[Relation, Relation] = {"left of": "right of", "right of": "left of", "above": "below", "below": "above"}


def relation_of(first: tuple[float, float], second: tuple[float, float]) -> Relation | None:
    """Relation of a first place (x, y) to a second one; None where it lies too near a diagonal to be clear.

    Args:
        first: x to the right and y downwards.
        second: the same.

    >>> relation_of((-0.5, 0.0), (0.5, 0.1)), relation_of((0.0, 0.0), (0.0, -0.5)), relation_of((0.0, 0.0), (1.0, 1.0))
    ('left of', 'below', None)
    """
    right, down = first[0] - second[0], first[1] - second[1]
    if abs(right) > RELATION_RATIO * abs(down):
        return "right of" if right > 0 else "left of"
    if abs(down) > RELATION_RATIO * abs(right):
        return "below" if down > 0 else "above"
    return None


Place = Literal["top left", "top", "top right", "left", "centre", "right", "bottom left", "bottom", "bottom right"]
Degree = Literal["absent", "slight", "some", "heavy"]

#: Row by row.
PLACES: tuple[Place, ...] = get_args(Place)
DEGREES: tuple[Degree, ...] = get_args(Degree)

#: A nuisance below the first strength is too faint to be described, up to the second slight, and from the third on
#: heavy. Between those it is "some", which is true of slight and heavy ones too: nothing is called by two opposed
#: words.
FAINT, SLIGHT, HEAVY = 0.5, 1.5, 3.0

#: Lettering is legible from this opacity and height (in half sides of the image) on.
_LEGIBLE_OPACITY, _LEGIBLE_HEIGHT = 0.5, 0.12

#: Colours of letters that are lost on light and on dark grounds.
_PALE: frozenset[Colour] = frozenset({"white", "yellow"})
_DARK: frozenset[Colour] = frozenset({"blue", "purple"})


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class DescribedObject(_Record):
    """Description of one object; None where a fact is left open.

    >>> DescribedObject(shape="star", colour="red").texture is None
    True
    """

    shape: Shape | None = None
    colour: Colour | None = None
    texture: Texture | None = None
    size: Size | None = None
    tilt: Tilt | None = Field(None, description="always None for shapes that look the same however they are turned")
    place: Place | None = None

    @model_validator(mode="after")
    def _round_shapes_have_no_tilt(self) -> DescribedObject:
        if self.tilt is not None and self.shape in ROUND:
            raise ValueError(f"a {self.shape} looks the same however it is turned; it cannot be {self.tilt!r}")
        return self


class DescribedRelation(_Record):
    """Relation of an object to a later one; both are numbered from 0 in the order of their description."""

    first: int = Field(ge=0)
    relation: Relation
    second: int = Field(ge=0)


class DescribedNuisances(_Record):
    """Description of nuisances; None where one is left open, or is too faint to be described."""

    fog: Degree | None = None
    snow: Degree | None = None
    rain: Degree | None = None
    blur: Degree | None = None
    noise: Degree | None = None
    stroke: Degree | None = None

    def degree(self, nuisance: Nuisance) -> Degree | None:
        """The degree of one nuisance by name."""
        found: Degree | None = getattr(self, nuisance)
        return found


class Described(_Record):
    """Description of a scene. None leaves a fact open; a full description has no None.

    ``objects`` need not list all: only an empty tuple says that there is none. An empty text says that there is no
    lettering. A partial description has fewer facts, and is true of more scenes.

    >>> said = Described(objects=(DescribedObject(shape="star"),), background="grass")
    >>> Described.from_json(said.to_json()) == said
    True
    """

    objects: tuple[DescribedObject, ...] | None = Field(None, max_length=8)
    relations: tuple[DescribedRelation, ...] = Field((), description="sorted, at most one for each two objects")
    background: Background | None = None
    lighting: Lighting | None = None
    style: Style | None = None
    nuisances: DescribedNuisances = DescribedNuisances()
    lettering: str | None = Field(None, pattern=r"^[A-Z0-9]{0,12}$")

    @model_validator(mode="after")
    def _relations_are_in_order(self) -> Described:
        if not self.relations:
            return self
        pairs = [(relation.first, relation.second) for relation in self.relations]
        if pairs != sorted(set(pairs)) or any(first >= second for first, second in pairs):
            raise ValueError("relations must be sorted, of an earlier object to a later one, one for each two objects")
        if pairs[-1][0] >= len(self.objects or ()) or max(second for _, second in pairs) >= len(self.objects or ()):
            raise ValueError(f"a relation is of objects that are not described; there are {len(self.objects or ())}")
        return self

    def to_json(self) -> str:
        """The record as JSON text, without open facts; equal descriptions give equal text."""
        return self.model_dump_json(exclude_none=True)

    @classmethod
    def from_json(cls, text: str) -> Described:
        """Read a record.

        Raises:
            InputError: it is no description; the message says which field is wrong.
        """
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            wrong = refused_values(error, "description")
            raise InputError(f"not a description of a scene: {wrong}") from error


def described(scene: Scene) -> Described:
    """Say all that has a name.

    Objects that lie beyond the edge of the image are left out; that one object hides another is not noticed. Relations
    are described where they are clear. Lettering that is faint, tiny, cut off, or pale on a pale ground is left open.

    >>> described(Scene(objects=(SceneObject(shape="star", colour="red", x=-0.4),))).objects[0].place
    'left'
    """
    seen = [one for one in scene.objects if max(abs(one.x), abs(one.y)) - one.radius < 1]
    return Described(
        objects=tuple(_object(one) for one in seen),
        relations=tuple(
            DescribedRelation(first=first, relation=relation, second=second)
            for first, one in enumerate(seen)
            for second, other in enumerate(seen[first + 1 :], first + 1)
            if (relation := relation_of((one.x, one.y), (other.x, other.y))) is not None
        ),
        background=scene.background,
        lighting=scene.light.name,
        style=scene.style,
        nuisances=DescribedNuisances(**{name: degree_of(scene.nuisances.strength(name)) for name in NUISANCES}),
        lettering=_legible(scene),
    )


def degree_of(strength: float) -> Degree | None:
    """Name of the strength of a nuisance; None where it is too faint to be described.

    >>> [degree_of(strength) for strength in (0, 0.2, 1, 2, 4)]
    ['absent', None, 'slight', 'some', 'heavy']
    """
    if strength == 0:
        return "absent"
    if strength < FAINT:
        return None
    return "slight" if strength <= SLIGHT else "some" if strength < HEAVY else "heavy"


def _object(one: SceneObject) -> DescribedObject:
    return DescribedObject(
        shape=one.shape,
        colour=one.colour,
        texture=one.texture,
        size=one.size,
        tilt=None if one.shape in ROUND else one.tilt,
        place=PLACES[len(COLUMNS) * ROWS.index(one.row) + COLUMNS.index(one.column)],
    )


def _legible(scene: Scene) -> str | None:
    lettering = scene.lettering
    if lettering is None or lettering.opacity == 0:
        return ""
    half_width = lettering.height / HEIGHT * ((WIDTH + GAP) * len(lettering.text) - GAP) / 2
    inside = abs(lettering.x) + half_width <= 1 and abs(lettering.y) + lettering.height / 2 <= 1
    clear = lettering.opacity >= _LEGIBLE_OPACITY and lettering.height >= _LEGIBLE_HEIGHT
    return lettering.text if inside and clear and _stands_out(lettering, scene) else None


def _stands_out(lettering: Lettering, scene: Scene) -> bool:
    night = scene.background == "night"
    light_ground = (
        scene.style == "stippled"
        or (scene.style == "line" and scene.light.name == "bright")
        or (scene.style == "inverted" and night)
    )
    dark_ground = scene.style == "photo" and night
    return not ((light_ground and lettering.colour in _PALE) or (dark_ground and lettering.colour in _DARK))


Factor = Literal[
    "shape",
    "colour",
    "texture",
    "size",
    "tilt",
    "place",
    "relations",
    "background",
    "lighting",
    "style",
    "nuisances",
    "lettering",
    "absences",
]

#: "absences" is that there is no object, no fog, no lettering.
FACTORS: tuple[Factor, ...] = get_args(Factor)

#: Factors of one object.
OBJECT_FACTORS: tuple[Literal["shape", "colour", "texture", "size", "tilt", "place"], ...] = (
    "shape",
    "colour",
    "texture",
    "size",
    "tilt",
    "place",
)

Detail = Literal["brief", "natural", "full", "complete"]

#: Values that go without saying.
USUAL: dict[str, str] = {
    "texture": "plain",
    "size": "medium",
    "tilt": "upright",
    "lighting": "bright",
    "style": "photo",
}

#: What each detail describes. "natural" also leaves out the obvious, and describes relations of neighbours.
DETAILS: dict[Detail, frozenset[Factor]] = {
    "brief": frozenset({"shape", "colour", "background"}),
    "natural": frozenset(FACTORS) - {"absences"},
    "full": frozenset(FACTORS) - {"absences"},
    "complete": frozenset(FACTORS),
}


def select(described: Described, detail: Detail | Collection[Factor]) -> Described:
    """Keep some facts. That a scene is empty is kept whenever objects are described.

    >>> star = DescribedObject(shape="star", colour="red", texture="plain", size="small")
    >>> select(Described(objects=(star,), style="photo"), ["shape", "size"]).to_json()
    '{"objects":[{"shape":"star","size":"small"}],"relations":[],"nuisances":{}}'

    Args:
        described: all facts.
        detail: name of a detail, or the factors to keep.

    Raises:
        InputError: no such detail or factor.
    """
    if isinstance(detail, str) and detail not in DETAILS:
        raise unknown_name("detail of captions", detail, DETAILS)
    kept = DETAILS[detail] if isinstance(detail, str) else frozenset(detail)
    if wrong := sorted(kept - frozenset(FACTORS)):
        raise unknown_name("factor of captions", wrong[0], FACTORS)
    usual = USUAL if detail == "natural" else {}
    absences = "absences" in kept
    nuisances = described.nuisances
    return Described(
        objects=_chosen_objects(described, kept, usual),
        relations=tuple(
            relation
            for relation in described.relations
            if "relations" in kept and (detail != "natural" or relation.second == relation.first + 1)
        ),
        background=described.background if "background" in kept else None,
        lighting=described.lighting if "lighting" in kept and described.lighting != usual.get("lighting") else None,
        style=described.style if "style" in kept and described.style != usual.get("style") else None,
        nuisances=DescribedNuisances(
            **{
                name: degree
                for name in NUISANCES
                if (degree := nuisances.degree(name)) is not None
                and (absences if degree == "absent" else "nuisances" in kept)
            }
        ),
        lettering=described.lettering if (absences if described.lettering == "" else "lettering" in kept) else None,
    )


def _chosen_objects(
    described: Described, kept: frozenset[Factor], usual: dict[str, str]
) -> tuple[DescribedObject, ...] | None:
    factors = [factor for factor in OBJECT_FACTORS if factor in kept]
    if described.objects is None or not (factors or "relations" in kept):
        return None
    return tuple(
        DescribedObject(
            **{factor: value for factor in factors if (value := getattr(one, factor)) != usual.get(factor, "")}
        )
        for one in described.objects
    )
