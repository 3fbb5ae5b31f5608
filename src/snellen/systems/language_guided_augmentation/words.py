"""Phrases as words: stems, which phrases are one (cosine of bags of words ≥ 0.7), and which denote a class.

Ghosh et al. stem by Porter and look lemmas up in WordNet. Here plurals alone are undone: that merges "trees" and "a
tree", and needs no dependency.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence

#: Cosine of bags of words from which two phrases are one.
SIMILARITY = 0.7

#: Words that say which or how many, and not what.
_EMPTY = frozenset({
    "a", "an", "the", "some", "of", "his", "her", "its", "their", "this", "that", "these", "those",
    "one", "two", "three", "several", "many",
})  # fmt: skip

_IRREGULAR = {
    "children": "child",
    "feet": "foot",
    "geese": "goose",
    "knives": "knife",
    "leaves": "leaf",
    "men": "man",
    "mice": "mouse",
    "people": "person",
    "shelves": "shelf",
    "teeth": "tooth",
    "wolves": "wolf",
    "women": "woman",
}

#: The shortest end of a compound that stands for it: "bird" for "waterbird", and not "hip" for "ship".
_LEAST_HEAD = 4


def stem(word: str) -> str:
    """A word in the singular.

    >>> [stem(word) for word in ("Trees", "boxes", "berries", "grass", "people", "bus")]
    ['tree', 'box', 'berry', 'grass', 'person', 'bus']
    """
    found = word.lower()
    if found in _IRREGULAR:
        return _IRREGULAR[found]
    if found.endswith("ies") and len(found) > 4:
        return found[:-3] + "y"
    if found.endswith(("sses", "shes", "ches", "xes", "zes")):
        return found[:-2]
    return found[:-1] if found.endswith("s") and not found.endswith(("ss", "us", "is")) and len(found) > 3 else found


def stems(phrase: str) -> tuple[str, ...]:
    """Stems of the words of a phrase, in order, without those that say which or how many.

    >>> stems("the two Wooden chairs")
    ('wooden', 'chair')
    """
    return tuple(stem(word) for word in re.findall(r"[^\W_]+", phrase.lower()) if word not in _EMPTY)


def cosine(first: str, second: str) -> float:
    """Cosine of two phrases' bags of stems, in [0, 1]; 0 where one is empty.

    >>> round(cosine("green grass", "the grass"), 3), cosine("a red ring", "a blue ring")
    (0.707, 0.5)
    """
    one, other = Counter(stems(first)), Counter(stems(second))
    product = sum(count * other[word] for word, count in one.items())
    lengths = (sum(count**2 for count in bag.values()) for bag in (one, other))
    # One root of the product: two equal bags have exactly 1.
    return product / math.sqrt(math.prod(lengths)) if product else 0.0


def merged(phrases: Iterable[str], *, similarity: float = SIMILARITY) -> dict[str, str]:
    """Each phrase → the phrase that stands for it: the most frequent one that is alike; ties go by the alphabet.

    >>> merged(["grass", "the grass", "green grass", "sand", "grass"])
    {'grass': 'grass', 'green grass': 'grass', 'sand': 'sand', 'the grass': 'grass'}

    Args:
        phrases: as often as they occur.
        similarity: least cosine.
    """
    counts = Counter(phrases)
    leaders: list[str] = []
    found = {}
    for phrase in sorted(counts, key=lambda phrase: (-counts[phrase], phrase)):
        leader = next((one for one in leaders if cosine(one, phrase) >= similarity), None)
        if leader is None:
            leaders.append(leader := phrase)
        found[phrase] = leader
    return {phrase: found[phrase] for phrase in sorted(found)}


def denotes(phrase: str, names: Sequence[str]) -> bool:
    """Whether a phrase means a class: it holds all words of a name, or ends like it.

    >>> [denotes(phrase, ["golden retriever", "dog"]) for phrase in ("two dogs", "a retriever", "a golden ball")]
    [True, True, False]
    >>> denotes("a bird", ["waterbird"]), denotes("water", ["waterbird"])
    (True, False)

    Args:
        phrase: in plain words.
        names: of the class, and its synonyms.
    """
    words = stems(phrase)
    for name in map(stems, names):
        if name and words:
            compound = len(words[-1]) >= _LEAST_HEAD and name[-1].endswith(words[-1])
            if set(name) <= set(words) or words[-1] == name[-1] or compound:
                return True
    return False
