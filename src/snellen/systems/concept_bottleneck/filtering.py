"""Concepts that must not be among the concepts: names of classes, words for a confounder, the same twice.

A concept that is the class's own name is no reason for it, and one that names the confounder lets it in again: MedCBM
(arXiv 2310.03182) holds only as long as none of them is there.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, takewhile

#: Words that carry nothing: two phrases that differ in them alone are the same.
_EMPTY = frozenset({"a", "an", "the", "is", "are", "of"})


@dataclass(frozen=True)
class Dropped:
    """A phrase that is no concept, and why."""

    phrase: str
    reason: str


class DroppedConceptsWarning(UserWarning):
    """Some of the concepts that were given are left out."""


def stems(text: str) -> tuple[str, ...]:
    """Words of a phrase without case, punctuation, possessive and plural, however its letters are encoded.

    >>> stems("Two T-shirts' edges")
    ('two', 't', 'shirt', 'edge')
    """
    plain = unicodedata.normalize("NFKC", text).casefold().replace("’", "'").replace("'s", "")
    return tuple(_singular(word) for word in re.findall(r"[^\W_]+", plain))


def keep_usable(
    phrases: Sequence[str], *, class_names: Sequence[str], confounders: Sequence[str] = ()
) -> tuple[tuple[int, ...], tuple[Dropped, ...]]:
    """Which phrases can be concepts.

    A name is found as whole words anywhere in a phrase, in singular or plural, written in one word or several
    ("PleuralEffusion", "pleural effusions"); of "T-shirt/top" either half.

    >>> keep_usable(["a long tail", "the cats", "A long tail."], class_names=["cat", "dog"])[0]
    (0,)

    Args:
        phrases: N of them.
        class_names: k of them.
        confounders: words or phrases.

    Returns:
        Places of those that are kept, in order, and the others with the reason.
    """
    names = [(f"names the class {name!r}", stems(part)) for name in class_names for part in name.split("/")]
    names += [(f"names the confounder {name!r}", stems(name)) for name in confounders]
    kept, dropped, said = list[int](), list[Dropped](), dict[tuple[str, ...], str]()
    for place, phrase in enumerate(phrases):
        words = stems(phrase)
        reason = next((told for told, name in names if name and _holds(words, name)), None)
        meaning = tuple(word for word in words if word not in _EMPTY)
        if reason is None and not meaning:
            reason = "says nothing"
        if reason is None and meaning in said:
            reason = f"says the same as {said[meaning]!r}"
        if reason is None:
            kept.append(place)
            said[meaning] = phrase
        else:
            dropped.append(Dropped(phrase, reason))
    return tuple(kept), tuple(dropped)


def _holds(words: tuple[str, ...], name: tuple[str, ...]) -> bool:
    whole = "".join(name)
    starts = (accumulate(words[start:]) for start in range(len(words)))
    return any(whole in takewhile(lambda said: len(said) <= len(whole), said) for said in starts)


def _singular(word: str) -> str:
    """Good enough to compare words by: both sides go through it."""
    if len(word) > 4 and word.endswith("ies"):
        return f"{word[:-3]}y"
    if len(word) > 4 and word.endswith(("sses", "shes", "ches", "xes", "zes")):
        return word[:-2]
    if len(word) > 3 and word.endswith("s") and not word.endswith(("ss", "us", "is")):
        return word[:-1]
    return word
