"""Whether a description of a scene is true, false or undecided, and the attributes found and invented."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from snellen.data.worlds.optotypes.described import (
    INVERSE,
    OBJECT_FACTORS,
    Degree,
    Described,
    DescribedObject,
    Relation,
)
from snellen.data.worlds.optotypes.factors import NUISANCES, ROUND

#: What a degree includes: "in fog" is true of a scene in heavy fog.
_INCLUDED: dict[Degree, frozenset[Degree]] = {
    "absent": frozenset({"absent"}),
    "slight": frozenset({"slight"}),
    "some": frozenset({"slight", "some", "heavy"}),
    "heavy": frozenset({"heavy"}),
}


def holds(stated: Described, truth: Described) -> bool:
    """Whether the description is surely true.

    Described objects must be found among those of the scene, each a different one; more may be there.

    >>> truth = Described(objects=(DescribedObject(shape="star", colour="red"), DescribedObject(shape="ring")))
    >>> holds(Described(objects=(DescribedObject(colour="red"),)), truth)
    True
    >>> holds(Described(objects=(DescribedObject(shape="ring", colour="red"),)), truth)
    False

    Args:
        stated: a description.
        truth: what is known of the scene, such as ``described(scene)``. Where it says None, nothing is surely true.
    """
    if stated.objects is not None and truth.objects is None:
        return False
    return _scene_agrees(stated, truth, unknown=False) and _found(stated, truth, unknown=False)


def contradicts(stated: Described, truth: Described) -> bool:
    """Whether the description is surely false.

    >>> ring = Described(objects=(DescribedObject(shape="ring", colour="red"),))
    >>> contradicts(ring, Described(objects=(DescribedObject(shape="star"), DescribedObject(colour="red"))))
    False
    >>> contradicts(ring, Described(objects=(DescribedObject(shape="star"), DescribedObject(colour="blue"))))
    True

    Args:
        stated: a description.
        truth: what is known of the scene; its objects, where described at all, are taken for all that there are. What
            it says None of may be anything; the tilt of a round shape is neither right nor wrong.
    """
    if not _scene_agrees(stated, truth, unknown=True):
        return True
    return truth.objects is not None and not _found(stated, truth, unknown=True)


def _scene_agrees(stated: Described, truth: Described, *, unknown: bool) -> bool:
    """Whether all but the objects may be (unknown) or is (not unknown) so."""
    for factor in ("background", "lighting", "style", "lettering"):
        value = getattr(stated, factor)
        if value is not None and value != getattr(truth, factor) and not (unknown and getattr(truth, factor) is None):
            return False
    for nuisance in NUISANCES:
        degree, true = stated.nuisances.degree(nuisance), truth.nuisances.degree(nuisance)
        if degree is None:
            continue
        if true is None:
            if not unknown:
                return False
        elif true not in _INCLUDED[degree] and not (unknown and degree in _INCLUDED[true]):
            return False
    return True


def _found(stated: Described, truth: Described, *, unknown: bool) -> bool:
    """Whether the described objects can be matched to true ones."""
    if stated.objects is None:
        return True
    true = truth.objects or ()
    if not stated.objects:
        return not true
    fitting = [
        [number for number, other in enumerate(true) if _object_agrees(one, other, unknown=unknown)]
        for one in stated.objects
    ]
    known = _both_ways(truth)

    def related(first: int, relation: Relation, second: int) -> bool:
        found = known.get((first, second))
        return found == relation or (unknown and found is None)

    return _assign(stated, fitting, related, ())


def _assign(
    stated: Described, fitting: list[list[int]], related: Callable[[int, Relation, int], bool], found: tuple[int, ...]
) -> bool:
    number = len(found)
    if number == len(fitting):
        return True
    relations = [one for one in stated.relations if one.second == number]
    for candidate in fitting[number]:
        extended = (*found, candidate)
        agrees = candidate not in found and all(
            related(extended[one.first], one.relation, candidate) for one in relations
        )
        if agrees and _assign(stated, fitting, related, extended):
            return True
    return False


def _object_agrees(stated: DescribedObject, true: DescribedObject, *, unknown: bool) -> bool:
    for factor in OBJECT_FACTORS:
        value = getattr(stated, factor)
        if value is None or value == getattr(true, factor):
            continue
        if not unknown or getattr(true, factor) is not None:
            return False
    # An object with a tilt is none of the shapes that have none.
    return not (true.tilt is not None and stated.shape in ROUND)


def _both_ways(truth: Described) -> dict[tuple[int, int], Relation]:
    known: dict[tuple[int, int], Relation] = {}
    for one in truth.relations:
        known[one.first, one.second] = one.relation
        known[one.second, one.first] = INVERSE[one.relation]
    return known


@dataclass(frozen=True, kw_only=True)
class AttributeScore:
    """Attributes of one description or, pooled, counts over many.

    Attributes:
        found: number that is predicted and true.
        invented: number that is predicted and not true.
        missed: number that is true and not predicted.
    """

    found: int
    invented: int
    missed: int

    @property
    def precision(self) -> float:
        """Share of the predicted that is true, in [0, 1]; 1 where nothing is predicted, for nothing is wrong."""
        predicted = self.found + self.invented
        return self.found / predicted if predicted else 1.0

    @property
    def recall(self) -> float:
        """Share of the true that is predicted, in [0, 1]; 1 where nothing is true, for nothing is missed."""
        true = self.found + self.missed
        return self.found / true if true else 1.0

    @property
    def f1(self) -> float:
        """Harmonic mean of both, 2 · found / (2 · found + invented + missed); 1 where nothing is predicted or true."""
        total = 2 * self.found + self.invented + self.missed
        return 2 * self.found / total if total else 1.0


def attribute_f1(predicted: frozenset[str], true: frozenset[str]) -> AttributeScore:
    """Compare the attributes of one description with the true ones.

    >>> score = attribute_f1(frozenset({"star", "red", "big"}), frozenset({"star", "blue"}))
    >>> round(score.precision, 2), score.recall, score.f1
    (0.33, 0.5, 0.4)

    Args:
        predicted: such as :func:`snellen.data.worlds.optotypes.ontology.attributes` of a parsed caption.
        true: those of the scene.
    """
    return AttributeScore(found=len(predicted & true), invented=len(predicted - true), missed=len(true - predicted))


def pooled(scores: Iterable[AttributeScore]) -> AttributeScore:
    """Add up the counts of many descriptions (micro average): each attribute counts the same.

    >>> pooled([attribute_f1(frozenset("ab"), frozenset("a")), attribute_f1(frozenset(), frozenset("c"))]).recall
    0.5
    """
    found = invented = missed = 0
    for score in scores:
        found, invented, missed = found + score.found, invented + score.invented, missed + score.missed
    return AttributeScore(found=found, invented=invented, missed=missed)
