"""The gap to a criterion, its hinge, and success with a margin."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from snellen.core.criterion import Margin, Misclassified, MultilabelChanged, Targeted
from snellen.methods.attacks.perturbation.penalty_search import Confident, gap, hinge

SCORES = torch.tensor([[3.0, 1.0, 2.5], [0.0, 5.0, 4.0]])


def test_gap_is_the_papers_f6_before_the_hinge():
    assert gap(SCORES, torch.tensor([0, 0]), Misclassified()).tolist() == [0.5, -5.0]
    assert gap(SCORES, torch.tensor([1, 1]), Targeted()).tolist() == [2.0, -1.0]


@pytest.mark.parametrize("flips", [1, 2, 3])
def test_multilabel_gap_is_negative_exactly_where_enough_decisions_flip(flips):
    generator = torch.Generator().manual_seed(flips)
    scores = torch.randn(200, 4, generator=generator)
    labels = torch.randint(0, 2, (200, 4), generator=generator)
    criterion = MultilabelChanged(flips=flips)
    met = criterion.success(scores, labels)
    assert 0 < met.sum() < 200
    assert torch.equal(gap(scores, labels, criterion) < 0, met)


@given(st.lists(st.floats(-50, 50, width=32), min_size=2, max_size=6), st.floats(0, 20, width=32), st.booleans())
def test_hinge_never_falls_below_minus_the_confidence(values, confidence, targeted):
    scores, labels = torch.tensor([values]), torch.tensor([0])
    criterion = Targeted() if targeted else Misclassified()
    missing = float(hinge(scores, labels, criterion, confidence))
    assert missing >= -confidence
    if float(gap(scores, labels, criterion)) > -confidence:
        assert missing == float(gap(scores, labels, criterion))


def test_confident_success_needs_the_lead():
    labels = torch.tensor([1, 2])
    assert Confident(Targeted(), 1.0).success(SCORES, labels).tolist() == [False, False]
    assert Confident(Targeted(), 1.0).success(SCORES, torch.tensor([0, 1])).tolist() == [False, True]
    assert Confident(Misclassified(), 1.5).success(SCORES, labels).tolist() == [True, False]
    assert Confident(Targeted()).direction == -1


def test_the_larger_confidence_is_queried():
    assert Confident.at_least(Margin(confidence=3.0), 1.0).confidence == 3.0
    assert Confident.at_least(Margin(confidence=0.5), 1.0).confidence == 1.0
    assert Confident.at_least(Misclassified(), 1.0).confidence == 1.0
