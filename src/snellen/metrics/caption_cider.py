"""CIDEr-D (Vedantam, Zitnick and Parikh, CVPR 2015): agreement with references, rare words weighing more.

The variant that coco-caption reports as CIDEr: counts clipped to the reference's, a penalty on length, times 10. Equal
to it on equal words (tested on recorded values); see :mod:`snellen.metrics.caption_bleu` on why it is not used.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

from snellen.metrics.caption_words import Gram, grams, split_captions

#: Longest sequence of words, and the width of the penalty on length (section 4 of the paper).
LONGEST, WIDTH = 4, 6.0


def cider_scores(candidates: Sequence[str], references: Sequence[Sequence[str]]) -> list[float]:
    """CIDEr-D of each caption, ≥ 0 and at most 10. CIDEr of a corpus is their mean (papers print 100 times that).

    Weights come from the references of this corpus: a word in those of every image counts nothing, so a corpus of one
    image gives 0.

    Args:
        candidates: a caption of each image.
        references: the references of each image.

    Raises:
        InputError: captions that do not fit together.
    """
    words, known = split_captions(candidates, references)
    spread: Counter[Gram] = Counter()
    for told in known:
        spread.update({gram for one in told for size in range(1, LONGEST + 1) for gram in grams(one, size)})
    everything = math.log(len(known))

    def vectors(said: Sequence[str]) -> list[dict[Gram, float]]:
        return [
            {gram: count * (everything - math.log(max(1, spread[gram]))) for gram, count in grams(said, size).items()}
            for size in range(1, LONGEST + 1)
        ]

    scores = []
    for said, told in zip(words, known, strict=True):
        ours = vectors(said)
        agreed = [_agreement(ours, vectors(one)) * _length_penalty(len(said), len(one)) for one in told]
        scores.append(10 * sum(agreed) / len(agreed))
    return scores


def cider(candidates: Sequence[str], references: Sequence[Sequence[str]]) -> float:
    """Mean of :func:`cider_scores`.

    >>> round(cider(["a cat", "a dog"], [["a cat"], ["a dog"]]), 4)
    5.0
    """
    scores = cider_scores(candidates, references)
    return sum(scores) / len(scores)


def _agreement(ours: Sequence[dict[Gram, float]], theirs: Sequence[dict[Gram, float]]) -> float:
    """Mean over the lengths of the cosine, with each count clipped to the reference's."""
    total = 0.0
    for one, other in zip(ours, theirs, strict=True):
        norms = math.sqrt(sum(v * v for v in one.values())) * math.sqrt(sum(v * v for v in other.values()))
        if norms:
            total += sum(min(value, other[gram]) * other[gram] for gram, value in one.items() if gram in other) / norms
    return total / len(ours)


def _length_penalty(ours: int, theirs: int) -> float:
    # coco-caption counts pairs of words: an empty caption is as long as one of a single word.
    difference = max(ours - 1, 0) - max(theirs - 1, 0)
    return math.exp(-(difference**2) / (2 * WIDTH**2))
