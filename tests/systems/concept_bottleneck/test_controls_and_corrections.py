"""Words that say nothing, corrections by a person, how well scores tell, and figures under a shortcut."""

import math

import numpy as np
import pytest
import torch

from snellen.core.errors import InputError, UnknownNameError
from snellen.core.randomness import Randomness
from snellen.systems.concept_bottleneck.concept_quality import concept_areas, noisy_concepts
from snellen.systems.concept_bottleneck.control_phrases import WORDS, random_phrases, shuffled_phrases
from snellen.systems.concept_bottleneck.corrections import as_row, corrected, read_corrections, usual_scores
from snellen.systems.concept_bottleneck.shift_figures import shift_figures, worst_group


@pytest.mark.covers("1.10")
def test_random_words_are_as_many_as_long_different_and_follow_from_the_seed():
    phrases = ["striped", "a red object", "dotted", "a blunt costophrenic angle"]
    found = random_phrases(phrases, Randomness(3))
    assert [len(one.split()) for one in found] == [1, 3, 1, 4]
    assert set(" ".join(found).split()) <= set(WORDS)
    assert found == random_phrases(phrases, Randomness(3))
    assert found != random_phrases(phrases, Randomness(4))
    # More single words than there are: some get a second one, and none comes twice.
    many = random_phrases(["word"] * (len(WORDS) + 20), Randomness(0))
    assert len(set(many)) == len(WORDS) + 20
    # Words of the classes say something, in any number; where nothing is to be avoided the draws are the same.
    words = set(" ".join(random_phrases(["word"] * 100, Randomness(0), avoid=["a Tiger", "zebras"])).split())
    assert {"tiger", "zebra"} & set(many) == {"tiger", "zebra"}
    assert not words & {"tiger", "zebra"}
    assert random_phrases(phrases, Randomness(3), avoid=["unknown"]) == found


@pytest.mark.covers("1.10")
def test_shuffled_phrases_have_the_same_letters_and_blanks_and_other_words():
    phrases = ["a striped object", "on grass", "aa", "aa b"]
    found = shuffled_phrases(phrases, Randomness(0))
    for phrase, other in zip(phrases, found, strict=True):
        assert sorted(other) == sorted(phrase)
        assert [one.isspace() for one in other] == [one.isspace() for one in phrase]
    assert found[0] != phrases[0]
    assert len(set(shuffled_phrases(["ab", "ba", "ab c"], Randomness(0)))) == 3


@pytest.mark.covers("1.11")
def test_a_correction_replaces_what_is_said_and_nothing_else():
    scores = torch.tensor([[0.1, 0.2, 0.3], [0.4, 0.5, 0.6]])
    before = scores.clone()
    said = as_row({"b": True, "c": False}, ["a", "b", "c"])
    assert said.tolist() == [-1, 1, 0]
    found = corrected(scores, said, torch.tensor([0.0, 0.0, -1.0]), torch.tensor([1.0, 2.0, 1.0]))
    assert torch.equal(found, torch.tensor([[0.1, 2.0, -1.0], [0.4, 2.0, -1.0]]))
    assert torch.equal(scores, before)
    absent, present = usual_scores(torch.arange(101.0)[:, None])
    assert (float(absent), float(present)) == (5.0, 95.0)


def test_how_corrections_are_written():
    phrases = ["x=y", "striped"]
    assert read_corrections(["striped = Absent", "x=y=yes"], phrases) == {"striped": False, "x=y": True}
    with pytest.raises(UnknownNameError, match="stripes"):
        read_corrections(["stripes=present"], phrases)
    with pytest.raises(InputError, match="written PHRASE=present or PHRASE=absent; got 'striped'"):
        read_corrections(["striped"], phrases)
    with pytest.raises(InputError, match="corrected twice"):
        read_corrections(["striped=yes", "striped=no"], phrases)


@pytest.mark.covers("1.15")
def test_areas_of_concepts_are_of_what_is_known():
    truth = [[1, 0, -1], [1, 1, -1], [0, 1, 1], [0, -1, 0], [-1, 0, 1]]
    scores = [[0.9, 0.9, 0], [0.4, 0.2, 0], [0.3, 0.1, 0.3], [0.5, 0.0, 0.9], [0.0, 0.3, 0.9]]
    areas = concept_areas(truth, scores)
    assert areas.each[:2] == (0.75, 0.0)
    assert areas.each[2] == 0.25
    assert noisy_concepts(areas) == (1, 2)
    assert math.isnan(concept_areas([[1], [1]], [[0.1], [0.2]]).each[0])
    with pytest.raises(InputError, match=r"says 1 .shown., 0 .not shown. or −1"):
        concept_areas([[2]], [[0.1]])
    with pytest.raises(InputError, match="both"):
        concept_areas([[1]], [[0.1, 0.2]])


@pytest.mark.covers("1.8")
def test_figures_under_a_shortcut_come_together():
    labels = (np.array([0, 0, 1, 1]), np.array([0, 0, 1, 1]))
    grounds = (["grass", "grass", "sand", "sand"], ["sand", "sand", "grass", "sand"])
    decided = (np.array([0, 0, 1, 1]), np.array([1, 0, 0, 1]))
    found = shift_figures(labels, grounds, decided)
    assert (found.id, found.ood, found.gap, found.average) == (1.0, 0.5, 0.5, 0.75)
    # The one suspicious image on grass is wrong; half of the benign ones on sand are.
    assert (found.worst, found.worst_group) == (0.0, "1 | grass")
    assert found.as_figures("cbm") == {
        "cbm.id": 1.0, "cbm.ood": 0.5, "cbm.gap": 0.5, "cbm.average": 0.75, "cbm.worst": 0.0,
    }  # fmt: skip
    with pytest.raises(InputError, match="2 labels came with 1 confounders"):
        worst_group([0, 1], ["a"], [True, True])
    with pytest.raises(InputError, match="no image to judge"):
        worst_group([], [], np.zeros(0, dtype=bool))
