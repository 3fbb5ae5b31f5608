"""How much of a scene is told: a description with fewer facts."""

from __future__ import annotations

from collections.abc import Collection
from typing import Literal, get_args

from snellen.core.errors import unknown_name
from snellen.data.worlds.optotypes.described import Described, DescribedNuisances, DescribedObject
from snellen.data.worlds.optotypes.factors import NUISANCES

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

#: What each detail tells of. "natural" leaves out what goes without saying besides, and tells relations of neighbours.
DETAILS: dict[Detail, frozenset[Factor]] = {
    "brief": frozenset({"shape", "colour", "background"}),
    "natural": frozenset(FACTORS) - {"absences"},
    "full": frozenset(FACTORS) - {"absences"},
    "complete": frozenset(FACTORS),
}


def select(described: Described, detail: Detail | Collection[Factor]) -> Described:
    """Keep some facts. That a scene is empty is kept whenever objects are told of.

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
        objects=_objects(described, kept, usual),
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


def _objects(
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
