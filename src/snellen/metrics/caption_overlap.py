"""ROUGE-L and METEOR of captions: the longest common sequence, and an alignment of words in few pieces."""

from __future__ import annotations

from collections.abc import Sequence

from snellen.metrics.caption_words import split_captions

#: Weight of recall in ROUGE-L, as coco-caption sets it.
_ROUGE_BETA = 1.2

#: Weight of precision, exponent and weight of the penalty on pieces (Banerjee and Lavie 2005; NLTK has the same).
_ALPHA, _EXPONENT, _PENALTY = 0.9, 3.0, 0.5


def rouge_l(candidates: Sequence[str], references: Sequence[Sequence[str]]) -> float:
    """ROUGE-L in [0, 1], the mean over captions (Lin 2004, with the best precision and recall of all references).

    >>> round(rouge_l(["the cat sat"], [["the cat has sat"]]), 4)
    0.8356

    Args:
        candidates: a caption of each image.
        references: the references of each image.

    Raises:
        InputError: captions that do not fit together.
    """
    words, known = split_captions(candidates, references)
    scores = []
    for said, told in zip(words, known, strict=True):
        common = [(longest_common(said, one), len(one)) for one in told]
        precision = max((found / len(said) for found, _ in common), default=0.0) if said else 0.0
        recall = max(found / length for found, length in common if length) if any(told) else 0.0
        weight = _ROUGE_BETA**2
        both = recall + weight * precision
        scores.append((1 + weight) * precision * recall / both if both else 0.0)
    return sum(scores) / len(scores)


def longest_common(first: Sequence[str], second: Sequence[str]) -> int:
    """Length of the longest sequence of words that both hold in this order, other words in between allowed.

    >>> longest_common("the cat sat".split(), "the cat has sat".split())
    3
    """
    row = [0] * (len(second) + 1)
    for word in first:
        diagonal = 0
        for place, other in enumerate(second, start=1):
            diagonal, row[place] = row[place], diagonal + 1 if word == other else max(row[place], row[place - 1])
    return row[-1]


def meteor(candidates: Sequence[str], references: Sequence[Sequence[str]]) -> float:
    """METEOR in [0, 1], the mean over captions of the best reference, by exact words alone.

    Banerjee and Lavie 2005: harmonic mean of precision and recall, recall weighing nine times, times 1 − ½ (pieces /
    matches)³. Without stems, synonyms and paraphrases, which METEOR 1.5 takes from tables: lower than what papers
    print, and to be compared with itself only.

    >>> round(meteor(["the cat sat"], [["the cat sat"]]), 4)
    0.9815

    Args:
        candidates: a caption of each image.
        references: the references of each image.

    Raises:
        InputError: captions that do not fit together.
    """
    words, known = split_captions(candidates, references)
    best = [max(_meteor(said, one) for one in told) for said, told in zip(words, known, strict=True)]
    return sum(best) / len(best)


def _meteor(said: Sequence[str], told: Sequence[str]) -> float:
    matches, pieces = aligned(said, told)
    if not matches:
        return 0.0
    precision, recall = matches / len(said), matches / len(told)
    mean = precision * recall / (_ALPHA * precision + (1 - _ALPHA) * recall)
    return mean * (1 - _PENALTY * (pieces / matches) ** _EXPONENT)


def aligned(first: Sequence[str], second: Sequence[str]) -> tuple[int, int]:
    """Number of words that can be paired, and of runs in which they lie: the longest common run first, and so on.

    >>> aligned("the cat sat on the mat".split(), "on the mat sat the cat".split())
    (6, 3)
    """
    ours: list[str | None] = [*first]
    theirs: list[str | None] = [*second]
    matches = pieces = 0
    while True:
        length, start, other = _longest_run(ours, theirs)
        if not length:
            return matches, pieces
        ours[start : start + length] = [None] * length
        theirs[other : other + length] = [None] * length
        matches, pieces = matches + length, pieces + 1


def _longest_run(first: Sequence[str | None], second: Sequence[str | None]) -> tuple[int, int, int]:
    """Length and both beginnings of the longest common run of words that are not taken yet."""
    best = (0, 0, 0)
    ending = [0] * (len(second) + 1)
    for row, word in enumerate(first):
        diagonal = 0
        for column, other in enumerate(second, start=1):
            here = diagonal + 1 if word is not None and word == other else 0
            diagonal, ending[column] = ending[column], here
            if here > best[0]:
                best = (here, row - here + 1, column - here)
    return best
