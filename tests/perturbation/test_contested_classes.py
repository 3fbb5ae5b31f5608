"""Pairs of classes of targeted objectives."""

import pytest
import torch

from snellen.classifier import Classifier
from snellen.criterion import Misclassified, Targeted
from snellen.errors import UnsupportedError
from snellen.perturbation.contested_classes import contested_classes, refuse_without_pairs

SCORES = torch.tensor([[5.0, 1.0, 3.0, 2.0], [0.0, 9.0, 8.0, 7.0]])


def test_other_classes_in_the_order_of_their_scores():
    away, targets = contested_classes(SCORES, torch.tensor([0, 2]), Misclassified(), 9)
    assert away.tolist() == [0, 2]
    assert targets.tolist() == [[2, 3, 1], [1, 3, 0]], "the label is never a target, even where it is not the best"
    assert contested_classes(SCORES, torch.tensor([0, 2]), Misclassified(), 2)[1].tolist() == [[2, 3], [1, 3]]


def test_towards_a_target_there_is_one_pair():
    away, targets = contested_classes(SCORES, torch.tensor([3, 1]), Targeted(), 9)
    assert (away.tolist(), targets.tolist()) == ([0, 2], [[3], [1]])


def test_classes_that_do_not_exclude_each_other_are_refused():
    several = Classifier(lambda x: x, class_names=["a", "b"], task="multilabel", name="several")
    with pytest.raises(
        UnsupportedError, match=r"fab plays classes against each other.*several has the task 'multilabel'"
    ):
        refuse_without_pairs(several, "fab")
    with pytest.raises(UnsupportedError, match="1 classes"):
        refuse_without_pairs(Classifier(lambda x: x, class_names=["a"]), "fab")
