"""The words of captions: which forms stand for which value, and which are kept for captions never seen in fitting."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from itertools import product
from typing import Literal, get_args

from snellen.core import package
from snellen.data.worlds.optotypes.factors import NUISANCES
from snellen.data.worlds.optotypes.lettering import CHARACTERS

Words = Literal["fitting", "held out", "any"]

WORDS: tuple[Words, ...] = get_args(Words)

#: Stands for a quoted text, or for the kind of picture, in a form.
BLANK = "*"

#: Words that carry no meaning of their own.
ARTICLES: frozenset[str] = frozenset({"a", "an", "the"})

#: Parts of phrases; they are no phrases by themselves.
_PARTS = frozenset({"style", "picture before", "picture after", "nuisance", "before nuisance", "degree"})


@dataclass(frozen=True)
class Meaning:
    """What a phrase stands for: a slot such as "colour", a value of it, and of a nuisance the degree."""

    slot: str
    value: str
    degree: str = ""


@cache
def forms(slot: str, value: str, words: Words = "any") -> tuple[str, ...]:
    """Forms of a value, the canonical one first.

    >>> forms("colour", "red"), forms("colour", "red", "held out")
    (('red', 'scarlet', 'crimson'), ('crimson',))

    Args:
        slot: a heading of ``captions.toml``.
        value: a key under it.
        words: forms for fitting, those held out, or both.
    """
    entry = _table()[slot][value]
    return tuple(
        form for kind in ("fitting", "held out") if words in (kind, "any") for form in entry[kind.replace(" ", "_")]
    )


@cache
def values(slot: str) -> tuple[str, ...]:
    """Values of a slot.

    >>> values("texture")
    ('plain', 'striped', 'dotted', 'checkered')
    """
    return tuple(_table()[slot])


@cache
def phrases() -> dict[tuple[str, ...], frozenset[Meaning]]:
    """Every phrase as its words without articles, with all that it stands for; BLANK stands for a quoted text.

    >>> phrases()["in", "faint", "mist"]
    frozenset({Meaning(slot='nuisance', value='fog', degree='slight')})
    """
    found: dict[tuple[str, ...], set[Meaning]] = {}

    def add(phrase: str, meaning: Meaning) -> None:
        found.setdefault(tuple(bare_words(phrase)), set()).add(meaning)

    for slot, entries in _table().items():
        if slot not in _PARTS:
            for value in entries:
                for form in forms(slot, value):
                    add(form, Meaning(slot, value))
    frames = [BLANK, *forms("picture before", "before"), *forms("picture after", "after")]
    for value in values("style"):
        for frame, form in product(frames, forms("style", value)):
            add(frame.replace(BLANK, form), Meaning("style", value))
    for value in NUISANCES:
        for noun in forms("nuisance", value):
            for before in forms("before nuisance", value):
                add(f"{before} {noun}", Meaning("nuisance", value, "some"))
                for degree in values("degree"):
                    for form in forms("degree", degree):
                        add(f"{before} {form} {noun}", Meaning("nuisance", value, degree))
            for before in forms("before nuisance", "absent"):
                add(f"{before} {noun}", Meaning("nuisance", value, "absent"))
    return {phrase: frozenset(meanings) for phrase, meanings in found.items()}


@cache
def vocabulary() -> tuple[str, ...]:
    """All words of captions, sorted: marks and the letters of texts in capitals, then the words in small letters.

    :func:`snellen.data.worlds.optotypes.caption_phrases.caption_words` splits a caption into these.

    >>> words = vocabulary()
    >>> len(words), words[:3], words[-3:]
    (317, ('"', ',', '.'), ('written', 'yellow', 'you'))
    """
    words = {word for phrase in phrases() for word in phrase} - {BLANK}
    return tuple(sorted(words | ARTICLES | set(CHARACTERS) | {'"', ",", "."}))


def bare_words(text: str) -> list[str]:
    """Words of a form, without hyphens and articles."""
    return [word for word in text.replace("-", " ").split() if word not in ARTICLES]


@cache
def _table() -> dict[str, dict[str, dict[str, list[str]]]]:
    return tomllib.loads(package.text("data/worlds/optotypes/captions.toml"))
