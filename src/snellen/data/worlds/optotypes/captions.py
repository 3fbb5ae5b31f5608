"""Scenes in words: one sentence or several, in fixed words or in others that mean the same."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TypeVar

import numpy as np

from snellen.core.errors import unknown_name
from snellen.core.randomness import derive_seed
from snellen.data.worlds.optotypes.described import INVERSE, Described, DescribedObject, Detail, Factor, select
from snellen.data.worlds.optotypes.factors import NUISANCES
from snellen.data.worlds.optotypes.vocabulary import BLANK, WORDS, Words, forms

Value = TypeVar("Value")

_BLOCK = 64


class PhraseChoices:
    """A series of choices that a seed decides; without a seed, each choice is the first.

    Numbers are drawn in blocks, because a call of the generator for each costs more than the caption around it.

    >>> PhraseChoices(None).one("abc"), PhraseChoices(3).one("abc") == PhraseChoices(3).one("abc")
    ('a', True)
    """

    def __init__(self, seed: int | None) -> None:
        self._rng = None if seed is None else np.random.default_rng(seed)
        self._block: list[float] = []

    def one(self, values: Sequence[Value]) -> Value:
        """One of several values, each as likely; the first without a seed."""
        return values[int(self.share() * len(values))]

    def share(self) -> float:
        """A number from 0 up to 1, evenly spread; 0 without a seed."""
        if self._rng is None:
            return 0.0
        if not self._block:
            self._block = self._rng.random(_BLOCK).tolist()
        return self._block.pop()

    def order(self, values: Sequence[Value]) -> list[Value]:
        """All values in an order that is as likely as any other; as they are without a seed."""
        left = list(values)
        return [left.pop(int(self.share() * len(left))) for _ in values]


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
    """An object that is mentioned for the first time, without its place.

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
    """An object that was mentioned before: by what distinguishes it from the others, else by its number.

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


#: Letters that take "an" before them, and words that do not keep to that.
_VOWELS = frozenset("aeiou")
_LIKE_VOWELS, _LIKE_CONSONANTS = ("hourglass",), ("uniform",)

#: How objects are laid out in sentences: all in one; each in its own; each in its own behind its place; the second
#: beside the first ("with a ring to its right").
_LAYOUTS: dict[str, tuple[str, ...]] = {"fitting": ("one", "one", "each"), "held out": ("place first", "beside")}

_PLACE_FIRST = "place first"


def caption(
    described: Described,
    *,
    seed: int | None = None,
    detail: Detail | Collection[Factor] = "natural",
    words: Words = "fitting",
) -> str:
    """Say what is described.

    A caption says neither more nor less than ``select(described, detail)``, and
    :func:`snellen.data.worlds.optotypes.parser.parse` reads that from it again.

    >>> star = DescribedObject(shape="star", colour="red", texture="striped", size="small", place="top left")
    >>> said = Described(objects=(star,), background="grass", lighting="dim")
    >>> caption(said)
    'a small red striped star at the top left, on grass, in dim light'
    >>> caption(said, seed=8, words="held out")
    'in the gloom, in a meadow, in the upper left corner, here we find a banded smallish crimson pentagram'

    Args:
        described: what is known.
        seed: decides words and sentences; None gives the canonical caption.
        detail: how much is described: the name of a detail, or the factors to mention.
        words: words and sentence patterns for fitting, those that are held out from it (a slot that has none borrows
            from fitting), or both.

    Raises:
        InputError: no such detail, factor or choice of words.
    """
    if words not in WORDS:
        raise unknown_name("choice of words", words, WORDS)
    shown = select(described, detail)
    choices = PhraseChoices(None if seed is None else derive_seed(seed, "caption"))
    sentences = _sentences(shown, choices, words)
    if len(sentences) == 1:
        return _with_articles(sentences[0])
    return " ".join(f"{text[0].upper()}{text[1:]}." for text in map(_with_articles, sentences))


def _sentences(shown: Described, choices: PhraseChoices, words: Words) -> list[str]:
    objects = shown.objects or ()
    layout = choices.one([layout for kind in kinds(words) for layout in _LAYOUTS[kind]])
    if len(objects) < 2 and layout in ("each", "beside"):
        layout = "one"
    around = choices.order(_circumstances(shown, choices, words))
    mentioned: set[tuple[int, int]] = set()
    if layout in ("each", _PLACE_FIRST) and objects:
        contents = [_placed(one, layout, choices, words) for one in objects]
    else:
        contents = [("", _together(shown, layout, mentioned, choices, words))]
    fronts = int(choices.share() * 3) if around else 0
    # A place that stands before its object needs the words "there is": "on the left a ring" may be misread.
    first = _first_sentence(shown, contents[0], (around[:fronts], around[fronts:]), choices, words)
    others = [_there_is(place, phrase, choices, words) for place, phrase in contents[1:]]
    return [first, *others, *_relation_sentences(shown, mentioned, choices, words)]


def _first_sentence(
    shown: Described,
    content: tuple[str, str],
    around: tuple[list[str], list[str]],
    choices: PhraseChoices,
    words: Words,
) -> str:
    place, phrase = content
    before, after = around
    behind = [] if shown.style is None or choices.share() < 0.7 else [_picture("picture after", shown, choices, words)]
    plain = choices.share() < 0.5 and not place and not before
    if shown.style is not None and not behind:
        # Circumstances before "a photo of" would be those of the photo.
        head, before, after = _picture("picture before", shown, choices, words), [], before + after
        place, phrase = ("", f"{phrase} {place}") if place else ("", phrase)
    elif plain:
        head = ""
    elif shown.style is None and not before and not place and choices.share() < 0.5:
        head = _picture("picture before", shown, choices, words)
    else:
        head = choices.one(forms("opening", "there is", words))
    front = "".join(f"{part}, " for part in [*before, place] if part)
    body = f"{front}{head} {phrase}".strip() if head else f"{front}{phrase}"
    tail = after + behind
    # "at the top on grass" would be the top of the grass.
    placed = any(one.place is not None for one in shown.objects or ())
    close = (
        " "
        if shown.background and not placed and tail[:1] and tail[0] in forms("background", shown.background)
        else ", "
    )
    return close.join([body, *tail[:1]]) + "".join(f", {part}" for part in tail[1:])


def _circumstances(shown: Described, choices: PhraseChoices, words: Words) -> list[str]:
    """Background, light, nuisances and lettering, each as a phrase of its own."""
    found = [
        choices.one(forms(slot, value, words))
        for slot, value in (("background", shown.background), ("lighting", shown.lighting))
        if value is not None
    ]
    for nuisance in NUISANCES:
        degree = shown.nuisances.degree(nuisance)
        if degree is not None:
            before = choices.one(forms("before nuisance", "absent" if degree == "absent" else nuisance, words))
            strength = [choices.one(forms("degree", degree, words))] if degree in ("slight", "heavy") else []
            found.append(" ".join([before, *strength, choices.one(forms("nuisance", nuisance, words))]))
    if shown.lettering:
        found.append(choices.one(forms("lettering", "text", words)).replace(BLANK, f'"{shown.lettering}"'))
    elif shown.lettering is not None:
        found.append(choices.one(forms("no lettering", "none", words)))
    return found


def _picture(slot: str, shown: Described, choices: PhraseChoices, words: Words) -> str:
    frame = choices.one(forms(slot, slot.removeprefix("picture "), words))
    return frame.replace(BLANK, choices.one(forms("style", shown.style or "picture", words)))


def _together(
    shown: Described, layout: str, mentioned: set[tuple[int, int]], choices: PhraseChoices, words: Words
) -> str:
    """All objects in one phrase; notes which relations it states."""
    if not shown.objects:
        return choices.one(forms("content", "unsaid" if shown.objects is None else "empty", words))
    parts = [_with_place(one, choices, words) for one in shown.objects]
    if len(parts) == 2 and shown.relations and (layout == "beside" or choices.share() < 0.5):
        mentioned.add((0, 1))
        relation = shown.relations[0].relation
        if layout == "beside":
            beside = choices.one(forms("with", "with", words))
            return f"{parts[0]}, {beside} {parts[1]}, {choices.one(forms('offset', INVERSE[relation], words))}"
        # Without the comma, "at the top, left of" would be the place "at the top left".
        comma = "," if shown.objects[0].place is not None else ""
        return f"{parts[0]}{comma} {choices.one(forms('relation', relation, words))} {parts[1]}"
    last = choices.one(forms("joining", "and", words))
    return f"{', '.join(parts[:-1])} {last} {parts[-1]}" if len(parts) > 1 else parts[0]


def _placed(one: DescribedObject, layout: str, choices: PhraseChoices, words: Words) -> tuple[str, str]:
    """An object as its place, where that stands first, and the rest."""
    if layout == _PLACE_FIRST and one.place is not None:
        return choices.one(forms("place", one.place, words)), noun_phrase(one, choices, words)
    return "", _with_place(one, choices, words)


def _with_place(one: DescribedObject, choices: PhraseChoices, words: Words) -> str:
    phrase = noun_phrase(one, choices, words)
    return phrase if one.place is None else f"{phrase} {choices.one(forms('place', one.place, words))}"


def _there_is(place: str, phrase: str, choices: PhraseChoices, words: Words) -> str:
    return f"{place}{', ' if place else ''}{choices.one(forms('opening', 'there is', words))} {phrase}"


def _relation_sentences(
    shown: Described, mentioned: Collection[tuple[int, int]], choices: PhraseChoices, words: Words
) -> list[str]:
    objects: Sequence[DescribedObject] = shown.objects or ()
    found = []
    for relation in shown.relations:
        if (relation.first, relation.second) not in mentioned:
            ends, kind = (relation.first, relation.second), relation.relation
            if choices.share() >= 0.5:
                ends, kind = ends[::-1], INVERSE[kind]
            first, second = (reference(number, objects, choices, words) for number in ends)
            copula, between = choices.one(forms("copula", "is", words)), choices.one(forms("relation", kind, words))
            found.append(f"{first} {copula} {between} {second}")
    return found


def _with_articles(text: str) -> str:
    """Write "an" before vowels.

    >>> _with_articles("a orange star and a uniform hourglass")
    'an orange star and a uniform hourglass'
    """
    words = text.split(" ")
    for number, next_word in enumerate(words[1:]):
        if words[number] == "a" and (
            next_word.startswith(_LIKE_VOWELS)
            or (next_word[0] in _VOWELS and not next_word.startswith(_LIKE_CONSONANTS))
        ):
            words[number] = "an"
    return " ".join(words)
