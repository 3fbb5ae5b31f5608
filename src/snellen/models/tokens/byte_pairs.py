"""Byte-pair encoding learned from a list of words, until each word is one piece.

Sennrich, Haddow and Birch, "Neural Machine Translation of Rare Words with Subword Units" (ACL 2016). Ties are broken by
the pieces themselves, so that the same words give the same merges everywhere.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import pairwise

Pair = tuple[str, str]


def learn_merges(words: Sequence[Sequence[str]]) -> list[Pair]:
    """Pairs of pieces to join, in order: the most frequent pair first, until every word is one piece.

    >>> learn_merges([["c", "a", "t"], ["c", "a", "r"]])
    [('c', 'a'), ('ca', 'r'), ('ca', 't')]

    Args:
        words: each as its first pieces, such as letters.
    """
    pieces = [list(word) for word in words]
    merges: list[Pair] = []
    while True:
        counts = Counter(pair for word in pieces for pair in pairwise(word))
        if not counts:
            return merges
        best = min(counts, key=lambda pair: (-counts[pair], pair))
        merges.append(best)
        pieces = [join(word, best) for word in pieces]


def join(word: Sequence[str], pair: Pair) -> list[str]:
    """Join each occurrence of a pair in a word, from the left.

    >>> join(["a", "a", "a", "b"], ("a", "a"))
    ['aa', 'a', 'b']
    """
    joined: list[str] = []
    position = 0
    while position < len(word):
        if tuple(word[position : position + 2]) == pair:
            joined.append("".join(pair))
            position += 2
        else:
            joined.append(word[position])
            position += 1
    return joined
