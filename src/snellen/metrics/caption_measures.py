"""Captions beside references, word by word: BLEU, ROUGE-L, METEOR and CIDEr-D; and length and repetition of one alone.

Own code: the library that captioning papers use (coco-caption, as ``pycocoevalcap``) was last released in 2020 and
starts Java for its tokens. Equal to it on equal words (tested on recorded values).

CIDEr is the variant that coco-caption reports: counts clipped to the reference's, a penalty on length, times 10.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence

from snellen.core.errors import InputError
from snellen.metrics.word_stems import stem

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
    for row, reference in enumerate(references):
        if isinstance(reference, str) or not len(reference):
            raise InputError(f"image {row} needs a list of at least one reference, got {reference!r}")
    return [caption_words(one) for one in candidates], [
        [caption_words(one) for one in reference] for reference in references
    ]


def bleu(candidates: Sequence[str], references: Sequence[Sequence[str]], *, n: int = 4) -> float:
    """BLEU-n in [0, 1], without smoothing: 0 where no sequence of n words is found.

    Counts are summed over the corpus before they are divided. Of several references, each sequence counts as often as
    in the one that has it most, and the length is that of the closest one (the shorter of two as close).

    >>> round(bleu(["the cat sat on the mat"], [["the cat sat on the red mat"]], n=2), 4)
    0.7571

    Args:
        candidates: a caption of each image.
        references: the references of each image.
        n: longest sequence.

    Raises:
        InputError: captions that do not fit together.
    """
    words, known = split_captions(candidates, references)
    found, total = [0] * n, [0] * n
    length = closest = 0
    for candidate, reference in zip(words, known, strict=True):
        length += len(candidate)
        closest += min((abs(len(one) - len(candidate)), len(one)) for one in reference)[1]
        for size in range(1, n + 1):
            most: Counter[Gram] = Counter()
            for one in reference:
                most |= grams(one, size)
            counts = grams(candidate, size)
            found[size - 1] += sum((counts & most).values())
            total[size - 1] += sum(counts.values())
    if not all(found):
        return 0.0
    precision = sum(math.log(one / all_) for one, all_ in zip(found, total, strict=True)) / n
    return math.exp(precision + min(0.0, 1 - closest / length))


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
    for candidate, reference in zip(words, known, strict=True):
        common = [(longest_common(candidate, one), len(one)) for one in reference]
        precision = max((found / len(candidate) for found, _ in common), default=0.0) if candidate else 0.0
        recall = max(found / length for found, length in common if length) if any(reference) else 0.0
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


def meteor(
    candidates: Sequence[str], references: Sequence[Sequence[str]], synonyms: Sequence[Sequence[str]] | None = None
) -> float:
    """Mean of :func:`meteor_scores`.

    >>> round(meteor(["the cat sat"], [["the cat sat"]]), 4)
    0.9815
    """
    scores = meteor_scores(candidates, references, synonyms)
    return sum(scores) / len(scores)


def meteor_scores(
    candidates: Sequence[str], references: Sequence[Sequence[str]], synonyms: Sequence[Sequence[str]] | None = None
) -> list[float]:
    """METEOR of each caption in [0, 1], that of its best reference.

    Banerjee and Lavie 2005: harmonic mean of precision and recall, recall weighing nine times, times 1 − ½ (pieces /
    matches)³. Without a table words match exactly. With one, words of one stem (Porter 1980) or one set of synonyms
    match as well, in one stage where the paper has three. METEOR 1.5 also has a table of paraphrases and other weights:
    compare these figures with each other only.

    >>> table = [["red", "scarlet"]]
    >>> [meteor_scores(["red cats"], [["a scarlet cat"]], one)[0] > 0 for one in (None, [], table)]
    [False, True, True]

    Args:
        candidates: a caption of each image.
        references: the references of each image.
        synonyms: sets of single words that mean the same; of a word in two sets, the first counts. Empty: stems alone.

    Raises:
        InputError: captions that do not fit together.
    """
    words, known = split_captions(candidates, references)
    if synonyms is not None:
        alike = {stem(word): stem(row[0]) for row in reversed(synonyms) for word in reversed(row)}

        def meant(row: Sequence[str]) -> tuple[str, ...]:
            return tuple(alike.get(one, one) for one in map(stem, row))

        words, known = [meant(row) for row in words], [[meant(one) for one in row] for row in known]
    return [
        max(_meteor(candidate, one) for one in reference) for candidate, reference in zip(words, known, strict=True)
    ]


def _meteor(candidate: Sequence[str], reference: Sequence[str]) -> float:
    matches, pieces = aligned(candidate, reference)
    if not matches:
        return 0.0
    precision, recall = matches / len(candidate), matches / len(reference)
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
    for reference in known:
        spread.update({gram for one in reference for size in range(1, LONGEST + 1) for gram in grams(one, size)})
    everything = math.log(len(known))

    def vectors(candidate: Sequence[str]) -> list[dict[Gram, float]]:
        return [
            {
                gram: count * (everything - math.log(max(1, spread[gram])))
                for gram, count in grams(candidate, size).items()
            }
            for size in range(1, LONGEST + 1)
        ]

    scores = []
    for candidate, reference in zip(words, known, strict=True):
        ours = vectors(candidate)
        agreed = [_agreement(ours, vectors(one)) * _length_penalty(len(candidate), len(one)) for one in reference]
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
