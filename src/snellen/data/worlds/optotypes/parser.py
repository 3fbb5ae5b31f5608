"""Read captions of scenes in any of their wordings."""

from __future__ import annotations

from typing import cast

from pydantic import ValidationError

from snellen.core.errors import InputError
from snellen.core.refused_values import refused_values
from snellen.data.worlds.optotypes.caption_phrases import Phrase, find_phrases, tokenise
from snellen.data.worlds.optotypes.described import (
    INVERSE,
    Described,
    DescribedNuisances,
    DescribedObject,
    DescribedRelation,
    Relation,
)
from snellen.data.worlds.optotypes.factors import ROUND

_ADJECTIVES = frozenset({"colour", "texture", "size", "tilt"})
_NOUNS = frozenset({"shape", "object", "ordinal"})
_OF_THE_SCENE = frozenset({"background", "lighting", "style", "lettering", "no lettering"})

_MOST_OBJECTS = 8


def parse(caption: str) -> Described:
    """Read a caption.

    Case, articles, hyphens, commas and American spelling do not matter. A place belongs to the object before it, or, at
    the beginning of a sentence, to the next one; "the red star" is the one mentioned before, if there is one.

    >>> said = parse("On a LAWN, in the upper left corner, there is a small crimson star with stripes.")
    >>> said.background, said.objects[0].place, said.objects[0].texture
    ('grass', 'top left', 'striped')
    >>> parse("the red star on gras, left of a ring")
    Traceback (most recent call last):
        ...
    snellen.core.errors.InputError: the word 'gras' is not known in captions of scenes; did you mean 'grass' or ...

    Args:
        caption: in the words of :func:`snellen.data.worlds.optotypes.vocabulary.vocabulary`.

    Returns:
        The description; None for open facts.

    Raises:
        InputError: a word or phrase is not known, two contradict each other, or something is missing or left over.
    """
    phrases = find_phrases(tokenise(caption))
    if not phrases:
        raise InputError("the caption says nothing; expected a sentence such as 'a red star on grass'")
    return _Reader(phrases).read()


class _Reader:
    """Goes through the phrases of one caption and collects what they say."""

    def __init__(self, phrases: list[Phrase]) -> None:
        self.phrases = phrases
        self.position = 0
        self.objects: list[dict[str, str]] = []
        self.relations: dict[tuple[int, int], Relation] = {}
        self.scene: dict[str, str] = {}
        self.nuisances: dict[str, str] = {}
        self.empty = False
        self._begin_sentence()

    def _begin_sentence(self) -> None:
        self.current: int | None = None
        self.host: int | None = None
        self.place: Phrase | None = None
        self.relation: Phrase | None = None

    def read(self) -> Described:
        while self.position < len(self.phrases):
            self._step(self.phrases[self.position])
        self._end_sentence()
        if self.empty and self.objects:
            raise InputError("the caption says that there is nothing, and describes an object; expected one of both")
        objects = tuple(DescribedObject.model_validate(one) for one in self.objects)
        try:
            return Described.model_validate(
                {
                    "objects": objects if objects or self.empty else None,
                    "relations": tuple(
                        DescribedRelation(first=first, relation=relation, second=second)
                        for (first, second), relation in sorted(self.relations.items())
                    ),
                    "nuisances": DescribedNuisances.model_validate(self.nuisances),
                    **self.scene,
                }
            )
        except ValidationError as error:
            wrong = refused_values(error)
            raise InputError(f"the caption says what cannot be: {wrong}") from error

    def _step(self, phrase: Phrase) -> None:
        slot = phrase.slot
        if slot in _ADJECTIVES or slot in _NOUNS:
            self._meet(self._noun_phrase())
            return
        self.position += 1
        if slot == "place":
            if self.current is not None and "place" not in self.objects[self.current]:
                self.objects[self.current]["place"] = phrase.value
            elif self.place is None:
                self.place = phrase
            else:
                raise InputError(f"{phrase.words!r} comes after {self.place.words!r}; expected one place an object")
        elif slot in ("texture after", "tilt after"):
            one = self.objects[self._some_object(phrase)]
            _say(one, slot.removesuffix(" after"), phrase.value)
            _check_tilt(one)
        elif slot == "relation":
            self._some_object(phrase)
            self.relation = phrase
        elif slot == "with":
            self.host = self._some_object(phrase)
        elif slot == "offset":
            self._offset(phrase)
        elif slot == "nuisance":
            _say(self.nuisances, phrase.value, phrase.degree)
        elif slot == "content":
            self.empty = self.empty or phrase.value == "empty"
        elif slot == "stop":
            self._end_sentence()
        elif slot in _OF_THE_SCENE and phrase.value != "picture":
            if slot == "lettering" and not phrase.text:
                raise InputError("the quoted text is empty; expected letters, or 'without lettering'")
            value = phrase.text if slot == "lettering" else "" if slot == "no lettering" else phrase.value
            _say(self.scene, slot.removeprefix("no "), value)

    def _noun_phrase(self) -> int:
        """Read one object, new or mentioned before, and return its number."""
        start = self.position
        one: dict[str, str] = {}
        while self.position < len(self.phrases) and self.phrases[self.position].slot in _ADJECTIVES:
            _say(one, self.phrases[self.position].slot, self.phrases[self.position].value)
            self.position += 1
        words = " ".join(phrase.words for phrase in self.phrases[start : self.position])
        if self.position == len(self.phrases) or self.phrases[self.position].slot not in _NOUNS:
            raise InputError(f"after {words!r} comes no object; expected one such as 'star', 'ring' or 'object'")
        noun = self.phrases[self.position]
        self.position += 1
        if noun.slot == "ordinal":
            if int(noun.value) >= len(self.objects):
                raise InputError(f"{noun.words!r} was not mentioned before; there are {len(self.objects)} objects yet")
            return int(noun.value)
        if noun.slot == "shape":
            one["shape"] = noun.value
        _check_tilt(one)
        if self.phrases[start].article == "the":
            alike = [
                number
                for number, other in enumerate(self.objects)
                if all(other.get(slot) == value for slot, value in one.items())
            ]
            if len(alike) > 1:
                raise InputError(
                    f"'the {' '.join([words, noun.words]).strip()}' may be any of {len(alike)} objects; "
                    "say more of it, or 'the first object'"
                )
            if alike:
                return alike[0]
        if len(self.objects) == _MOST_OBJECTS:
            raise InputError(f"the caption describes more than {_MOST_OBJECTS} objects, the most that a scene can have")
        self.objects.append(one)
        return len(self.objects) - 1

    def _meet(self, number: int) -> None:
        """Take an object as the one that what follows is about."""
        if self.place is not None:
            _say(self.objects[number], "place", self.place.value)
            self.place = None
        if self.relation is not None and self.current is not None:
            self._relate(self.current, cast(Relation, self.relation.value), number)
            self.relation = None
        self.current = number

    def _offset(self, phrase: Phrase) -> None:
        if self.host is None or self.current is None or self.host == self.current:
            raise InputError(f"{phrase.words!r} needs two objects before it, as in 'a star with a ring to its right'")
        self._relate(self.current, cast(Relation, phrase.value), self.host)
        self.host = None

    def _relate(self, first: int, relation: Relation, second: int) -> None:
        if first == second:
            raise InputError(f"an object cannot be {relation} itself; expected two different objects")
        if first > second:
            first, second, relation = second, first, INVERSE[relation]
        known = self.relations.setdefault((first, second), relation)
        if known != relation:
            raise InputError(f"one object is both {known} and {relation} another; expected one of both")

    def _some_object(self, phrase: Phrase) -> int:
        if self.current is None:
            raise InputError(f"{phrase.words!r} comes before any object; expected one before it, such as 'a star'")
        return self.current

    def _end_sentence(self) -> None:
        left = self.relation or self.place
        if left is not None:
            raise InputError(f"no object comes after {left.words!r}; expected one such as 'a star'")
        self._begin_sentence()


def _say(known: dict[str, str], slot: str, value: str) -> None:
    if known.setdefault(slot, value) != value:
        raise InputError(f"{slot} is given twice and differently: {known[slot]!r} and {value!r}; expected one of both")


def _check_tilt(one: dict[str, str]) -> None:
    if "tilt" in one and one.get("shape") in ROUND:
        raise InputError(f"a {one['shape']} looks the same however it is turned; leave out that it is {one['tilt']!r}")
