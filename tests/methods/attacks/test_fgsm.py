"""FGSM against its formula."""

import pytest
import torch
import torch.nn.functional as F

from snellen.core.criterion import Targeted
from snellen.methods.attacks.fgsm import FGSM
from snellen.methods.attacks.pgd import PGD
from snellen.testing.conformance import small_problem


@pytest.mark.smoke
@pytest.mark.parametrize("epsilon", [0.002, 0.01, 0.03])
def test_equals_the_formula(epsilon):
    classifier, images, labels = small_problem(count=24)
    x = images.clone().requires_grad_(True)
    (gradient,) = torch.autograd.grad(F.cross_entropy(classifier(x), labels, reduction="sum"), x)
    formula = (images + epsilon * gradient.sign()).clamp(0, 1)
    flipped = classifier(formula).argmax(1) != labels
    attacked = FGSM(epsilon=epsilon).attack(classifier, images, labels)
    assert 0 < flipped.sum() < 24
    assert torch.equal(attacked.success, flipped)
    assert (attacked.images[flipped] - formula[flipped]).abs().max() <= 1e-6
    assert torch.equal(attacked.images[~flipped], images[~flipped])


def test_one_gradient_and_two_queries_an_image():
    classifier, images, labels = small_problem()
    attacked = FGSM(epsilon=0.1).attack(classifier, images, labels)
    assert attacked.gradients.tolist() == [1] * len(images)
    assert attacked.queries.tolist() == [2] * len(images)


@pytest.mark.smoke
def test_equals_one_step_pgd_without_random_start():
    classifier, images, labels = small_problem()
    one = PGD(epsilon=0.1, steps=1, step_size=0.1, random_start=False).attack(classifier, images, labels)
    assert torch.equal(one.images, FGSM(epsilon=0.1).attack(classifier, images, labels).images)


def test_targeted_descends_towards_the_target():
    classifier, images, labels = small_problem(count=40)
    targets = (labels + 1) % 5
    attacked = FGSM(epsilon=0.2).attack(classifier, images, targets, criterion=Targeted())
    assert attacked.success.any()
    assert torch.equal(classifier(attacked.images).argmax(1)[attacked.success], targets[attacked.success])


def test_epsilon_zero_finds_nothing_new():
    classifier, images, labels = small_problem()
    attacked = FGSM(epsilon=0).attack(classifier, images, labels)
    assert not attacked.success.any()
    assert torch.equal(attacked.images, images)
