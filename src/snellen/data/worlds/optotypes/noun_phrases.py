"""Objects of a scene in words."""

from __future__ import annotations

from collections.abc import Sequence

from snellen.data.worlds.optotypes.choosing import PhraseChoices
from snellen.data.worlds.optotypes.described import DescribedObject
from snellen.data.worlds.optotypes.vocabulary import Words, forms

#: Orders of what stands before a noun.
_ORDERS: dict[str, tuple[tuple[str, ...], ...]] = {
    "fitting": (("size", "tilt", "colour", "texture"), ("size", "texture", "colour", "tilt")),
    "held out": (("texture", "size", "colour", "tilt"),),
}

#: What may stand after a noun instead.
_AFTER = ("texture", "tilt")

#: By what an object is called again.
_CALLED = (("colour", "shape"), ("shape",), ("size", "shape"))


def kinds(words: Words) -> tuple[str, ...]:
    """Which of "fitting" and "held out" a choice of words is made of."""
    return ("fitting", "held out") if words == "any" else (words,)


def noun_phrase(one: DescribedObject, choices: PhraseChoices, words: Words) -> str:
    """An object that is told of for the first time, without its place.

    >>> noun_phrase(DescribedObject(shape="star", colour="red", tilt="upright"), PhraseChoices(None), "fitting")
    'a upright red star'
    """
    orders = [order for kind in kinds(words) for order in _ORDERS[kind]]
    after = [slot for slot in _AFTER if getattr(one, slot) is not None and choices.share() >= 0.5]
    before = [slot for slot in choices.one(orders) if getattr(one, slot) is not None and slot not in after]
    return " ".join(
        [
            "a",
            *(choices.one(forms(slot, getattr(one, slot), words)) for slot in before),
            _noun(one, choices, words),
            *(choices.one(forms(f"{slot} after", getattr(one, slot), words)) for slot in after),
        ]
    )


def reference(number: int, objects: Sequence[DescribedObject], choices: PhraseChoices, words: Words) -> str:
    """An object that has been told of: by what distinguishes it from the others, else by its number.

    >>> two = [DescribedObject(shape="star", colour="red"), DescribedObject(shape="star", colour="blue")]
    >>> first = PhraseChoices(None)
    >>> reference(1, two, first, "fitting"), reference(0, [two[0], two[0]], first, "fitting")
    ('the blue star', 'the first object')
    """
    one = objects[number]
    telling = [
        slots
        for slots in _CALLED
        if all(getattr(one, slot) is not None for slot in slots)
        and sum(all(getattr(other, slot) == getattr(one, slot) for slot in slots) for other in objects) == 1
    ]
    if not telling:
        return f"the {choices.one(forms('ordinal', str(number), words))}"
    return " ".join(["the", *(choices.one(forms(slot, getattr(one, slot), words)) for slot in choices.one(telling))])


def _noun(one: DescribedObject, choices: PhraseChoices, words: Words) -> str:
    if one.shape is None:
        return choices.one(forms("object", "object", words))
    return choices.one(forms("shape", one.shape, words))
