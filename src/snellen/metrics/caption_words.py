"""Captions as words, and what can be said of one caption alone: length and repetition."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

from snellen.core.errors import InputError

#: A word: letters and digits of any script, joined by apostrophes or hyphens.
_WORD = re.compile(r"\w+(?:['’-]\w+)*")

Gram = tuple[str, ...]


def caption_words(caption: str) -> tuple[str, ...]:
    """Words in lower case, without punctuation.

    >>> caption_words("A half-eaten dog's dinner, on the grass.")
    ('a', 'half-eaten', "dog's", 'dinner', 'on', 'the', 'grass')
    """
    return tuple(_WORD.findall(caption.lower()))


def grams(words: Sequence[str], n: int) -> Counter[Gram]:
    """How often each sequence of n words occurs.

    >>> grams(("a", "b", "a", "b"), 2)[("a", "b")]
    2
    """
    return Counter(tuple(words[start : start + n]) for start in range(len(words) - n + 1))


def repetition(words: Sequence[str], n: int = 2) -> float:
    """Share of the sequences of n words that were there before, in [0, 1]; 0 for shorter captions.

    >>> round(repetition(("dog", "dog", "dog", "dog")), 4)
    0.6667
    """
    found = grams(words, n)
    total = sum(found.values())
    return 1 - len(found) / total if total else 0.0


def split_captions(
    candidates: Sequence[str], references: Sequence[Sequence[str]]
) -> tuple[list[tuple[str, ...]], list[list[tuple[str, ...]]]]:
    """Words of n candidates and of the references of each.

    Raises:
        InputError: no captions, another number of references than of candidates, or an image without a reference.
    """
    if not candidates or len(candidates) != len(references):
        raise InputError(f"got {len(candidates)} captions, and references of {len(references)} images")
    for row, told in enumerate(references):
        if isinstance(told, str) or not len(told):
            raise InputError(f"image {row} needs a list of at least one reference, got {told!r}")
    return [caption_words(one) for one in candidates], [[caption_words(one) for one in told] for told in references]
