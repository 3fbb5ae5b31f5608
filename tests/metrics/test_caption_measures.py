"""Measures of captions: equal to the libraries that papers use, on words on which their tokens agree."""

import math

import pytest
import torch

from snellen.core.errors import InputError
from snellen.metrics.caption_measures import (
    aligned,
    bleu,
    caption_words,
    cider,
    cider_scores,
    longest_common,
    meteor,
    repetition,
    rouge_l,
)
from snellen.metrics.caption_retrieval import clip_scores, ranks, ref_clip_scores, reference_scores, retrieval_recall
from snellen.metrics.pareto import knee, pareto_front

CANDIDATES = [
    "a small red star on grass",
    "the blue ring ring ring",
    "a dog",
    "there is a large striped heart at the top left",
    "a cat sat on the mat and the cat slept",
]
REFERENCES = [
    ["a red star on grass", "a little star lies on the green grass"],
    ["a blue ring", "the blue ring at the left on sand"],
    ["one big dog runs", "dogs"],
    ["there is a heart at the top", "a large heart with stripes at the top left"],
    ["the cat slept on the mat", "a cat and a mat"],
]
#: What pycocoevalcap 1.2 gives for them.
PUBLISHED_BLEU = (0.78787878, 0.69163211, 0.57203376, 0.41462755)
PUBLISHED_CIDER = (3.65950875, 1.84848558, 0.58562276, 4.12079544, 2.21915553)
PUBLISHED_ROUGE = (0.92424242, 0.63763066, 0.31443299, 0.85059761, 0.52360515)
#: What NLTK 3.10 gives, without stems and synonyms, for the first reference of three pairs with one best alignment.
PUBLISHED_METEOR = {0: 0.94902, 2: 0.131579, 3: 0.947722}


@pytest.mark.parametrize("n", [1, 2, 3, 4])
def test_bleu_is_that_of_the_library(n):
    assert bleu(CANDIDATES, REFERENCES, n=n) == pytest.approx(PUBLISHED_BLEU[n - 1], abs=1e-7)


def test_cider_is_that_of_the_library():
    assert cider_scores(CANDIDATES, REFERENCES) == pytest.approx(PUBLISHED_CIDER, abs=1e-7)
    assert cider(CANDIDATES, REFERENCES) == pytest.approx(2.48671361, abs=1e-7)


def test_rouge_is_that_of_the_library():
    for said, told, published in zip(CANDIDATES, REFERENCES, PUBLISHED_ROUGE, strict=True):
        assert rouge_l([said], [told]) == pytest.approx(published, abs=1e-7)
    assert rouge_l(CANDIDATES, REFERENCES) == pytest.approx(sum(PUBLISHED_ROUGE) / 5, abs=1e-7)


def test_meteor_is_that_of_the_library_where_words_pair_in_one_way():
    for row, published in PUBLISHED_METEOR.items():
        assert meteor([CANDIDATES[row]], [REFERENCES[row][:1]]) == pytest.approx(published, abs=1e-5)


def test_meteor_by_hand():
    # 2 of 5 words against 2 of 3, in one run: P = 0.4, R = 2/3, F = 0.26667 / 0.42667, penalty ½ · (1/2)³.
    mean = (0.4 * 2 / 3) / (0.9 * 0.4 + 0.1 * 2 / 3)
    assert meteor(["the blue ring ring ring"], [["a blue ring"]]) == pytest.approx(mean * (1 - 0.5 / 8))


def test_words_are_paired_in_few_runs():
    assert aligned(["a", "b", "c", "d"], ["c", "d", "a", "b"]) == (4, 2)
    assert aligned(["x", "y"], ["a", "b"]) == (0, 0)
    assert longest_common(["a", "b", "c", "d"], ["b", "d", "c"]) == 2


@pytest.mark.parametrize("measure", [bleu, cider, rouge_l, meteor])
def test_what_is_said_as_the_references_say_is_best_and_other_words_worst(measure):
    told = [[one] for one in CANDIDATES]
    best = measure(CANDIDATES, told)
    assert best > 0.9
    assert measure(["nothing like that"] * 5, told) == 0
    assert 0 < measure([CANDIDATES[0][:14], *CANDIDATES[1:]], told) < best
    assert measure(["", *CANDIDATES[1:]], told) < best
    assert measure([one.upper() + "." for one in CANDIDATES], told) == best
    with pytest.raises(InputError, match="got 1 captions, and references of 2"):
        measure(["a"], [["a"], ["b"]])
    with pytest.raises(InputError, match="at least one reference"):
        measure(["a"], [[]])


@pytest.mark.covers("39.10")
def test_repetition_is_the_share_of_pairs_that_were_there_before():
    assert repetition(caption_words("a red star")) == 0
    assert repetition(caption_words("dog dog dog dog")) == pytest.approx(2 / 3)
    assert repetition(caption_words("a b a b")) == pytest.approx(1 / 3)
    assert repetition(("a",)) == repetition(()) == 0


def unit(rows, width=8, seed=0):
    vectors = torch.randn(rows, width, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.normalize(vectors, dim=1)


def test_clip_scores_are_the_published_formulas():
    texts, images = unit(6), unit(6, seed=1)
    told = [unit(3, seed=10 + row) for row in range(6)]
    cosines = (texts * images).sum(1)
    assert torch.allclose(clip_scores(texts, images), 2.5 * cosines.clamp(min=0))
    nearest = torch.stack([max(one @ text for one in found) for text, found in zip(texts, told, strict=True)])
    assert torch.allclose(reference_scores(texts, told), nearest.clamp(min=0))
    for row, score in enumerate(ref_clip_scores(texts, images, told)):
        first, second = 2.5 * max(float(cosines[row]), 0), max(float(nearest[row]), 0)
        harmonic = 0 if not first * second else 2 / (1 / first + 1 / second)
        assert float(score) == pytest.approx(harmonic, abs=1e-6)
    assert bool((clip_scores(texts, images) == 0).any())


@pytest.mark.covers("39.8")
def test_recall_is_over_all_images_and_ties_count_against_the_caption():
    texts, images = unit(1200, 16), unit(1200, 16, seed=1)
    similar = texts @ images.T
    expected = [1 + int((row > row[n]).sum()) for n, row in enumerate(similar)]
    assert ranks(texts, images).tolist() == expected
    assert retrieval_recall(texts, images, (1, 10))[10] == sum(place <= 10 for place in expected) / 1200
    assert retrieval_recall(images, images) == {1: 1.0, 5: 1.0, 10: 1.0}
    same = torch.ones(4, 2)
    assert ranks(same, same).tolist() == [4, 4, 4, 4]
    with pytest.raises(InputError, match=r"\(n, d\) each"):
        ranks(texts, images[:5])


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_vectors_that_are_not_finite_find_nothing(value):
    spoilt = unit(4)
    spoilt[1, 2] = value
    for texts, images, said in ((spoilt, unit(4), "captions"), (unit(4), spoilt, "images")):
        for measure in (ranks, retrieval_recall, clip_scores):
            with pytest.raises(InputError, match=f"1 of 4 vectors of {said} are not finite"):
                measure(texts, images)


def test_clip_scores_take_unit_vectors_alone():
    with pytest.raises(InputError, match="expected 1: divide"):
        clip_scores(3 * unit(4), unit(4))
    with pytest.raises(InputError, match="expected 1: divide"):
        clip_scores(unit(4), torch.zeros(4, 8))
    assert clip_scores(unit(4).half(), unit(4).half()).shape == (4,)


def test_the_front_holds_what_nothing_beats():
    points = [(1.0, 5.0), (2.0, 4.9), (3.0, 3.0), (2.5, 2.0), (4.0, 0.0), (1.0, 4.0)]
    assert pareto_front(points) == [0, 1, 2, 4]
    assert pareto_front([(1, 1), (1, 1)]) == [0, 1]
    for index in pareto_front(points):
        assert not any(a >= points[index][0] and b > points[index][1] for a, b in points)
    with pytest.raises(InputError, match="finite pairs"):
        pareto_front([(0.0, math.nan)])
    with pytest.raises(InputError, match="finite pairs"):
        knee([])


def test_the_knee_is_farthest_from_the_line_between_the_ends():
    points = [(0.0, 10.0), (1.0, 9.5), (2.0, 9.0), (2.5, 3.0), (3.0, 0.0)]
    ends = (points[0], points[-1])

    def distance(point):
        (ax, ay), (bx, by) = ((x / 3, y / 10) for x, y in ends)
        x, y = point[0] / 3, point[1] / 10
        return (by - ay) * (ax - x) - (ay - y) * (bx - ax)

    assert knee(points) == max(range(5), key=lambda index: abs(distance(points[index]))) == 2
    assert knee([(1.0, 1.0)]) == 0
