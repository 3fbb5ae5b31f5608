"""Stems of English words: M. F. Porter, "An algorithm for suffix stripping", Program 14(3), 1980."""

from __future__ import annotations

import re

#: Endings and what takes their place, longest first, in the steps of the paper that depend on m alone.
_SECOND = (
    ("ational", "ate"), ("ization", "ize"), ("iveness", "ive"), ("fulness", "ful"), ("ousness", "ous"),
    ("tional", "tion"), ("biliti", "ble"), ("entli", "ent"), ("ousli", "ous"), ("ation", "ate"), ("alism", "al"),
    ("aliti", "al"), ("iviti", "ive"), ("enci", "ence"), ("anci", "ance"), ("izer", "ize"), ("abli", "able"),
    ("alli", "al"), ("ator", "ate"), ("eli", "e"),
)  # fmt: skip
_THIRD = (
    ("icate", "ic"), ("ative", ""), ("alize", "al"), ("iciti", "ic"), ("ical", "ic"), ("ness", ""), ("ful", ""),
)  # fmt: skip
#: Of these "ion" only behind s or t.
_FOURTH = (
    "ement", "ance", "ence", "able", "ible", "ment", "ant", "ent", "ism", "ate", "iti", "ous", "ive", "ize", "ion",
    "al", "er", "ic", "ou",
)  # fmt: skip


def stem(word: str) -> str:
    """The stem of a word in lower case.

    >>> [stem(one) for one in ("caresses", "ponies", "hopping", "relational", "effective", "sky", "happy", "rate")]
    ['caress', 'poni', 'hop', 'relat', 'effect', 'sky', 'happi', 'rate']
    """
    if len(word) <= 2 or not word.isalpha():
        return word
    return _fifth(_fourth(_replaced(_replaced(_first(word), _SECOND), _THIRD)))


def _shape(word: str) -> str:
    """V for each vowel and C for each consonant; y is a vowel behind a consonant."""
    shape = ""
    for place, letter in enumerate(word):
        vowel = letter in "aeiou" or (letter == "y" and place > 0 and shape[-1] == "C")
        shape += "V" if vowel else "C"
    return shape


def _measure(word: str) -> int:
    """m: how often a consonant follows a vowel."""
    return len(re.findall("V+C+", _shape(word)))


def _short(word: str) -> bool:
    """Ends with consonant, vowel, consonant, and the last is not w, x or y."""
    return _shape(word).endswith("CVC") and word[-1] not in "wxy"


def _double(word: str) -> bool:
    return len(word) > 1 and word[-1] == word[-2] and _shape(word)[-1] == "C"


def _first(word: str) -> str:
    for ending, instead in (("sses", "ss"), ("ies", "i"), ("ss", "ss"), ("s", "")):
        if word.endswith(ending):
            word = word[: -len(ending)] + instead
            break
    if word.endswith("eed"):
        word = word[:-1] if _measure(word[:-3]) else word
    else:
        for ending in ("ed", "ing"):
            if word.endswith(ending) and "V" in _shape(word[: -len(ending)]):
                word = _mended(word[: -len(ending)])
                break
    return word[:-1] + "i" if word.endswith("y") and "V" in _shape(word[:-1]) else word


def _mended(word: str) -> str:
    """What is left without -ed or -ing, as a word."""
    if word.endswith(("at", "bl", "iz")):
        return word + "e"
    if _double(word) and word[-1] not in "lsz":
        return word[:-1]
    return word + "e" if _measure(word) == 1 and _short(word) else word


def _replaced(word: str, endings: tuple[tuple[str, str], ...]) -> str:
    for ending, instead in endings:
        if word.endswith(ending):
            rest = word[: -len(ending)]
            return rest + instead if _measure(rest) else word
    return word


def _fourth(word: str) -> str:
    for ending in _FOURTH:
        if word.endswith(ending):
            rest = word[: -len(ending)]
            allowed = ending != "ion" or rest.endswith(("s", "t"))
            return rest if allowed and _measure(rest) > 1 else word
    return word


def _fifth(word: str) -> str:
    if word.endswith("e"):
        rest = word[:-1]
        if _measure(rest) > 1 or (_measure(rest) == 1 and not _short(rest)):
            word = rest
    return word[:-1] if _double(word) and word[-1] == "l" and _measure(word) > 1 else word
