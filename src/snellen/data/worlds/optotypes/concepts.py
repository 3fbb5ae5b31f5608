"""Concepts for bottlenecks: short phrases that distinguish classes, and phrases that are true of no scene."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from snellen.core.errors import unknown_name
from snellen.data.worlds.optotypes.described import OBJECT_FACTORS, Described
from snellen.data.worlds.optotypes.ontology import VALUES


@dataclass(frozen=True, kw_only=True)
class Concept:
    """A phrase and of what it is true.

    Attributes:
        phrase: names no class.
        factor: the factor that it describes; "" for a distractor.
        values: values of the factor for which it is true; none for a distractor.
    """

    phrase: str
    factor: str = ""
    values: frozenset[str] = frozenset()


#: Phrase → values for which it is true, by factor.
_TRUE_OF: dict[str, dict[str, str]] = {
    "shape": {
        "a smooth curved edge all around": "circle ring",
        "only straight edges": "square triangle star cross arrow hourglass",
        "both a curved edge and a sharp tip": "heart crescent",
        "a hole in the middle": "ring",
        "no hole": "circle square triangle star cross heart crescent arrow hourglass",
        "four equal sides": "square",
        "four right angles and no notch": "square",
        "a broad base and a single top": "triangle",
        "more than four spikes": "star",
        "spikes in all directions": "star",
        "four arms of equal length": "cross",
        "arms that meet at right angles": "cross",
        "two round lobes": "heart",
        "a single tip at the bottom": "heart",
        "bent like a banana": "crescent",
        "two tips that face the same way": "crescent",
        "a shaft with a broad head": "arrow",
        "shows a direction": "arrow",
        "a narrow waist": "hourglass",
        "two halves that mirror each other across a waist": "hourglass",
        "looks the same however it is turned": "circle ring",
        "a filled round area": "circle",
        "a notch in the outline": "star cross heart crescent arrow hourglass",
        "no notch in the outline": "circle square triangle ring",
    },
    "colour": {
        "the hue of blood": "red",
        "the hue of carrots": "orange",
        "the hue of bananas": "yellow",
        "the hue of leaves": "green",
        "the hue of shallow tropical seas": "cyan",
        "the hue of deep seas": "blue",
        "the hue of grapes": "purple",
        "the hue of milk": "white",
        "a warm hue": "red orange yellow",
        "a cold hue": "green cyan blue purple",
        "no hue": "white",
    },
    "texture": {
        "the same all over": "plain",
        "parallel lines": "striped",
        "round marks": "dotted",
        "alternating fields": "checkered",
        "a repeated pattern": "striped dotted checkered",
    },
    "size": {
        "hardly larger than a fingernail": "tiny",
        "fills a minor part": "tiny small",
        "fills about half": "medium",
        "nearly fills everything": "large",
    },
    "background": {
        "no surroundings": "grey",
        "blades and stalks": "grass",
        "fine pale grains": "sand",
        "mortar joints": "brick",
        "waves": "water",
        "tiny lights in the dark": "night",
        "outdoors": "grass sand water night",
        "made by people": "grey brick",
    },
    "style": {
        "shading like a camera's": "photo",
        "thin strokes on paper": "line",
        "many specks": "stippled",
        "light and dark exchanged": "inverted",
        "made by hand": "line stippled",
    },
}

_DISTRACTORS = (
    "has wheels", "has fur", "has feathers", "has four legs", "a human face", "a tail", "petals around a stem",
    "made of glass", "made of wood", "a handle and a lid", "a screen with buttons", "smoke rising", "two antennae",
    "a row of windows", "fruit with a peel", "a knotted rope", "fish scales", "a roof with a chimney", "wings",
    "a zipper",
)  # fmt: skip


@cache
def concepts(factor: str) -> tuple[Concept, ...]:
    """All concepts that distinguish values of a factor.

    >>> concepts("texture")[1].phrase
    'parallel lines'

    Args:
        factor: "shape", "colour", "texture", "size", "background" or "style".

    Raises:
        InputError: no concepts are known for that factor.
    """
    if factor not in _TRUE_OF:
        raise unknown_name("factor with concepts", factor, _TRUE_OF)
    return tuple(
        Concept(phrase=phrase, factor=factor, values=frozenset(true.split()))
        for phrase, true in _TRUE_OF[factor].items()
    )


@cache
def concepts_of(factor: str, value: str) -> tuple[Concept, ...]:
    """Concepts that are true of one value.

    >>> [concept.phrase for concept in concepts_of("shape", "star")][:2]
    ['only straight edges', 'no hole']

    Raises:
        InputError: no concepts are known for that factor, or it has no such value.
    """
    found = tuple(concept for concept in concepts(factor) if value in concept.values)
    if not found:
        raise unknown_name(factor, value, VALUES[factor])
    return found


def distractors() -> tuple[Concept, ...]:
    """Concepts that are true of no scene: a control for a bottleneck that would use any.

    >>> distractors()[0].phrase
    'has wheels'
    """
    return tuple(Concept(phrase=phrase) for phrase in _DISTRACTORS)


def is_true(concept: Concept, described: Described) -> bool | None:
    """Whether a description makes a concept true of any object, or of the scene; None where it is not described.

    >>> from snellen.data.worlds.optotypes.described import DescribedObject
    >>> star = Described(objects=(DescribedObject(shape="star"),))
    >>> [is_true(concept, star) for concept in (*concepts("shape")[:2], concepts("colour")[0], distractors()[0])]
    [False, True, None, False]
    """
    if not concept.factor:
        return False
    if concept.factor not in OBJECT_FACTORS:
        value = getattr(described, concept.factor)
        return None if value is None else value in concept.values
    if described.objects is None:
        return None
    values = [getattr(one, concept.factor) for one in described.objects]
    if any(value in concept.values for value in values):
        return True
    return None if None in values else False
