"""Pairs of classes of targeted objectives."""

import pytest
import torch

from snellen.core.classifier import Classifier
from snellen.core.criterion import Misclassified, Targeted
from snellen.core.errors import UnsupportedError
from snellen.methods.attacks.perturbation.contested_classes import (
    classes_to_lower,
    classes_to_raise,
    refuse_without_pairs,
)

SCORES = torch.tensor([[5.0, 1.0, 3.0, 2.0], [0.0, 9.0, 8.0, 7.0]])


def test_other_classes_are_raised_in_the_order_of_their_scores():
    targets = classes_to_raise(SCORES, torch.tensor([0, 2]), Misclassified(), 9)
    assert targets.tolist() == [[2, 3, 1], [1, 3, 0]], "the label is never a target, even where it is not the best"
    assert classes_to_raise(SCORES, torch.tensor([0, 2]), Misclassified(), 2).tolist() == [[2, 3], [1, 3]]
    assert classes_to_lower(SCORES, torch.tensor([0, 2]), Misclassified()).tolist() == [0, 2]


def test_towards_a_target_the_best_other_class_is_in_the_way():
    labels = torch.tensor([3, 1])
    assert classes_to_raise(SCORES, labels, Targeted(), 9).tolist() == [[3], [1]]
    assert classes_to_lower(SCORES, labels, Targeted()).tolist() == [0, 2]


def test_classes_that_do_not_exclude_each_other_are_refused():
    several = Classifier(lambda x: x, class_names=["a", "b"], task="multilabel", name="several")
    with pytest.raises(
        UnsupportedError, match=r"fab plays classes against each other.*several has the task 'multilabel'"
    ):
        refuse_without_pairs(several, "fab")
    with pytest.raises(UnsupportedError, match="1 classes"):
        refuse_without_pairs(Classifier(lambda x: x, class_names=["a"]), "fab")
