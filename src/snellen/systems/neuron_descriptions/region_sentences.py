"""Attributes of regions as short sentences, in several ways, and back: the captions that a describer learns from."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

from snellen.systems.neuron_descriptions.region_truth import KINDS, OF_OBJECTS, VALUES
from snellen.systems.neuron_descriptions.vocabulary import split_words

#: Words for a texture before a noun, and behind it.
_TEXTURES = {
    "plain": ("plain", "without pattern"),
    "striped": ("striped", "with stripes"),
    "dotted": ("dotted", "with dots"),
    "checkered": ("checkered", "with checks"),
}
_PLURALS = {"cross": "crosses", "hourglass": "hourglasses"}
_OBJECTS = ("objects", "things", "shapes")
_LETTERS = ("letters", "text", "words in capital letters", "written letters", "lines of text")
_GROUNDS = ("the background", "empty background", "areas around objects")
_ANY_OBJECT = ("objects of many kinds", "various things", "shapes of all colours")

#: What each word means; other words mean nothing here.
_MEANINGS: dict[str, str] = (
    {value: value for value in VALUES}
    | {_PLURALS.get(shape, f"{shape}s"): shape for shape in KINDS["shape"]}
    | {"stripes": "striped", "dots": "dotted", "checks": "checkered", "pattern": "plain"}
    | {"text": "letters", "letter": "letters", "words": "letters", "word": "letters"}
)


def region_sentences(attributes: Collection[str], *, count: int, rng: np.random.Generator) -> list[str]:
    """Say what regions have in common, in ``count`` ways, which may be alike.

    >>> region_sentences({"red", "star"}, count=2, rng=np.random.default_rng(1))
    ['red stars', 'stars in red']

    Args:
        attributes: as :func:`snellen.systems.neuron_descriptions.region_truth.region_attributes` gives them, at least
            one.
        count: number of sentences.
        rng: draws the words.
    """
    return [_sentence(frozenset(attributes), rng) for _ in range(count)]


def said_attributes(sentence: str) -> frozenset[str]:
    """What a sentence says: values of :data:`snellen.systems.neuron_descriptions.region_truth.VALUES`, or "object" or
    "ground" if none.

    >>> sorted(said_attributes("red crosses with stripes")), said_attributes("empty background")
    (['cross', 'red', 'striped'], frozenset({'ground'}))
    """
    words = split_words(sentence)
    said = frozenset(_MEANINGS[word] for word in words if word in _MEANINGS)
    # "areas around objects" are ground; "words in capital letters" and "text" are letters.
    return said or frozenset({"ground" if {"background", "areas"} & set(words) else "object"})


def _sentence(attributes: frozenset[str], rng: np.random.Generator) -> str:
    if "letters" in attributes:
        return _one(_LETTERS, rng)
    grounds = [value for value in KINDS["ground"] if value in attributes]
    if grounds:
        return _one((f"{grounds[0]} in the background", f"areas of {grounds[0]}", f"{grounds[0]} around objects"), rng)
    if "ground" in attributes:
        return _one(_GROUNDS, rng)
    shape, colour, texture = (next((v for v in KINDS[kind] if v in attributes), None) for kind in OF_OBJECTS)
    if shape is None and colour is None and texture is None:
        return _one(_ANY_OBJECT, rng)
    noun = _one(_OBJECTS, rng) if shape is None else _PLURALS.get(shape, f"{shape}s")
    before, behind = _TEXTURES[texture] if texture else ("", "")
    colour_behind, texture_behind = rng.random() < 0.4, rng.random() < 0.4
    parts = [
        "" if colour_behind else colour or "",
        "" if texture_behind else before,
        noun,
        behind if texture_behind else "",
        f"in {colour}" if colour and colour_behind else "",
    ]
    return " ".join(part for part in parts if part)


def _one(choices: tuple[str, ...], rng: np.random.Generator) -> str:
    return choices[int(rng.integers(len(choices)))]
