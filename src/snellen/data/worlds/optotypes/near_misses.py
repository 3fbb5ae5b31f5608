"""Descriptions that are wrong in one fact only: captions that are hard to distinguish from the true one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import combinations
from typing import Literal

import numpy as np

from snellen.core.errors import InputError
from snellen.data.worlds.optotypes.described import INVERSE, OBJECT_FACTORS, Described, DescribedObject
from snellen.data.worlds.optotypes.factors import NUISANCES, ROUND
from snellen.data.worlds.optotypes.lettering import CHARACTERS, dots
from snellen.data.worlds.optotypes.ontology import nearest
from snellen.data.worlds.optotypes.truth import contradicts

Change = Literal["replaced", "swapped"]


@dataclass(frozen=True, kw_only=True)
class NearMiss:
    """A description that is false in one fact.

    Attributes:
        described: the false description. factor: what is wrong: a factor of
            :data:`snellen.data.worlds.optotypes.described.FACTORS`.
        change: "replaced" by another value, or "swapped" between two objects (of a relation: turned round).
        distance: rank of the wrong value among the other ones, the nearest first, over their number, in (0, 1]; 0 for a
            swap, after which the caption may have the same words.
    """

    described: Described
    factor: str
    change: Change
    distance: float


def near_misses(described: Described, *, count: int, seed: int, truth: Described | None = None) -> list[NearMiss]:
    """Change one fact of a description to a false one, the hardest first.

    Each is surely false of the scene, also by another object of it: where a red and a blue star are, "a blue star" is
    no near-miss of "a red star".

    >>> star = DescribedObject(shape="star", colour="red")
    >>> [(miss.factor, miss.described.objects[0].colour) for miss in near_misses(
    ...     Described(objects=(star,)), count=9, seed=0) if miss.factor == "colour"][:2]
    [('colour', 'orange'), ('colour', 'purple')]

    Args:
        described: a true description, partial or full.
        count: at most so many; fewer where there are no more.
        seed: decides the order of equally hard ones.
        truth: all that is known of the scene; None takes the description for all there is.

    Raises:
        InputError: the count is negative, or the description is itself false.
    """
    if count < 0:
        raise InputError(f"the count of near-misses must be at least 0; got {count}")
    known = described if truth is None else truth
    if contradicts(described, known):
        raise InputError("what is described is false of the scene; expected a true description, whole or in part")
    made = [*_swaps(described), *_turned(described), *_objects(described), *_scene(described), *_nuisances(described)]
    made += _lettering(described)
    order = np.random.default_rng(seed).permutation(len(made)).tolist()
    found: list[NearMiss] = []
    seen: set[str] = set()
    for number in sorted(order, key=lambda number: made[number].distance):
        if len(found) == count:
            break
        miss = made[number]
        text = miss.described.to_json()
        if text not in seen and contradicts(miss.described, known):
            found.append(miss)
            seen.add(text)
    return found


def _swaps(described: Described) -> Iterator[NearMiss]:
    """Two objects exchange one attribute."""
    objects = described.objects or ()
    for (first, one), (second, other) in combinations(enumerate(objects), 2):
        for factor in OBJECT_FACTORS:
            values = getattr(one, factor), getattr(other, factor)
            if factor == "shape" or None in values or values[0] == values[1]:
                continue
            changed = list(objects)
            changed[first] = one.model_copy(update={factor: values[1]})
            changed[second] = other.model_copy(update={factor: values[0]})
            yield _miss(described, factor, "swapped", 0.0, objects=tuple(changed))


def _turned(described: Described) -> Iterator[NearMiss]:
    """A relation is turned round, or replaced by another."""
    for number, one in enumerate(described.relations):
        others = nearest("relation", one.relation)
        for rank, relation in enumerate(others, 1):
            changed = list(described.relations)
            changed[number] = one.model_copy(update={"relation": relation})
            turned = relation == INVERSE[one.relation]
            distance = 0.0 if turned else rank / len(others)
            yield _miss(described, "relations", "swapped" if turned else "replaced", distance, relations=tuple(changed))


def _objects(described: Described) -> Iterator[NearMiss]:
    objects = described.objects or ()
    for number, one in enumerate(objects):
        for factor in OBJECT_FACTORS:
            value = getattr(one, factor)
            for other, distance in _others(factor, value) if value is not None else ():
                changed = one.model_copy(update={factor: other})
                if _possible(changed):
                    yield _miss(
                        described,
                        factor,
                        "replaced",
                        distance,
                        objects=(*objects[:number], changed, *objects[number + 1 :]),
                    )


def _scene(described: Described) -> Iterator[NearMiss]:
    for factor in ("background", "lighting", "style"):
        value = getattr(described, factor)
        for other, distance in _others(factor, value) if value is not None else ():
            yield _miss(described, factor, "replaced", distance, **{factor: other})


def _nuisances(described: Described) -> Iterator[NearMiss]:
    """Another nuisance of the same degree, or another degree of the same."""
    shown = described.nuisances
    for nuisance in NUISANCES:
        degree = shown.degree(nuisance)
        if degree is None:
            continue
        degrees = {
            "absent": ("some",),
            "some": ("absent",),
            "slight": ("heavy", "absent"),
            "heavy": ("slight", "absent"),
        }
        for rank, other in enumerate(degrees[degree], 1):
            changed = shown.model_copy(update={nuisance: other})
            yield _miss(described, "nuisances", "replaced", rank / len(degrees[degree]), nuisances=changed)
        if degree != "absent":
            for kind, distance in _others("nuisance", nuisance):
                if shown.degree(kind) in (None, "absent"):  # type: ignore[arg-type]
                    changed = shown.model_copy(update={nuisance: shown.degree(kind), kind: degree})  # type: ignore[arg-type]
                    yield _miss(described, "nuisances", "replaced", distance, nuisances=changed)


def _lettering(described: Described) -> Iterator[NearMiss]:
    """One letter is another, that looks like it."""
    for place, letter in enumerate(described.lettering or ""):
        others = _look_alikes(letter)
        for rank, other in enumerate(others, 1):
            text = (described.lettering or "")[:place] + other + (described.lettering or "")[place + 1 :]
            yield _miss(described, "lettering", "replaced", rank / len(others), lettering=text)


def _miss(described: Described, factor: str, change: Change, distance: float, **changed: object) -> NearMiss:
    return NearMiss(described=described.model_copy(update=changed), factor=factor, change=change, distance=distance)


def _possible(one: DescribedObject) -> bool:
    return one.tilt is None or one.shape not in ROUND


def _others(factor: str, value: str) -> list[tuple[str, float]]:
    others = nearest(factor, value)
    return [(other, rank / len(others)) for rank, other in enumerate(others, 1)]


@cache
def _look_alikes(letter: str) -> tuple[str, ...]:
    """Other characters, those with the most dots in common first."""
    others = [other for other in CHARACTERS if other != letter]
    return tuple(sorted(others, key=lambda other: float((dots(other) - dots(letter)).abs().sum())))
