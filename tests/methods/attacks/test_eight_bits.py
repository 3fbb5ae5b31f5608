"""Successes that do and do not survive bytes."""

import torch
from torch import nn

from snellen.core.classifier import Classifier
from snellen.methods.attacks.carlini_wagner_l2 import CarliniWagnerL2
from snellen.methods.attacks.eight_bits import rounded_success, to_bytes
from snellen.methods.attacks.pgd import PGD
from snellen.testing.conformance import small_problem


def test_bytes_are_bytes():
    images = torch.rand(2, 3, 5, 5)
    rounded = to_bytes(images)
    assert torch.equal(to_bytes(rounded), rounded)
    assert float((rounded - images).abs().max()) <= 0.5 / 255 + 1e-7


def test_a_success_that_rounds_away_is_reported_and_a_large_one_stays():
    model = nn.Sequential(nn.Flatten(), nn.Linear(12, 2, bias=False))
    model[1].weight.data = torch.tensor([[0.0], [1.0]]).repeat(1, 12)
    model[1].weight.data[0, :] = 0.0
    classifier = Classifier(model, class_names=["a", "b"])
    model[1].bias = nn.Parameter(torch.tensor([12 * 100.2 / 255, 0.0]), requires_grad=False)
    images = torch.full((2, 3, 2, 2), 100 / 255)
    labels = torch.tensor([0, 0])
    # Bytes have to rise from 100 to 101 to cross the boundary at 100.2; 100.3 crosses it and rounds back.
    near = PGD(epsilon=0.3 / 255, steps=1, step_size=1.0, random_start=False).attack(classifier, images, labels)
    assert near.success.all()
    assert rounded_success(classifier, near, labels).tolist() == [False, False]
    far = PGD(epsilon=2 / 255, steps=1, step_size=1.0, random_start=False).attack(classifier, images, labels)
    assert rounded_success(classifier, far, labels, batch_size=1).tolist() == [True, True]


def test_a_failure_never_becomes_a_success():
    classifier, images, labels = small_problem()
    attacked = CarliniWagnerL2(steps=2, searches=1, last_resort=False).attack(classifier, images, labels)
    with classifier.counting() as spent:
        survived = rounded_success(classifier, attacked, labels)
    assert not (survived & ~attacked.success).any()
    assert spent().queries == int(attacked.success.sum())


def test_without_a_success_the_classifier_is_not_queried():
    classifier, images, labels = small_problem()
    attacked = PGD(epsilon=0.0, steps=1).attack(classifier, images, labels)
    assert not attacked.success.any()
    with classifier.counting() as spent:
        assert not rounded_success(classifier, attacked, labels).any()
    assert spent().queries == 0
