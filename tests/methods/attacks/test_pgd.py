"""PGD: oracle on a linear model, and that it is no weaker than FGSM."""

import pytest
import torch
from torch import nn

from snellen.core.classifier import Classifier
from snellen.core.criterion import Targeted
from snellen.core.errors import InputError
from snellen.core.randomness import Randomness
from snellen.methods.attacks.fgsm import FGSM
from snellen.methods.attacks.pgd import PGD
from snellen.testing.conformance import small_problem


def linear_problem(count=40):
    """A linear two-class model: the smallest successful change is |margin| / ‖w‖ in the dual norm."""
    generator = torch.Generator().manual_seed(1)
    weight = torch.randn(3 * 4 * 4, generator=generator) * 0.3
    model = nn.Sequential(nn.Flatten(), nn.Linear(48, 2))
    model[1].weight.data = torch.stack([weight, -weight])
    images = 0.3 + 0.4 * torch.rand(count, 3, 4, 4, generator=generator)
    model[1].bias.data = torch.tensor([-1.0, 1.0]) * float((images.flatten(1) @ weight).mean())
    classifier = Classifier(model, class_names=["a", "b"])
    scores = classifier(images)
    margin = (scores[:, 0] - scores[:, 1]).abs()
    return classifier, images, scores.argmax(1), margin, 2 * weight


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_breaks_exactly_what_can_be_broken_on_a_linear_model(norm):
    classifier, images, labels, margin, weight = linear_problem()
    dual = weight.abs().sum() if norm == "linf" else weight.norm()
    epsilon = float((margin / dual).median())  # interior images: the box does not bind at this size
    attacked = PGD(norm=norm, epsilon=epsilon, steps=40).attack(classifier, images, labels)
    needed = margin / dual
    assert attacked.success[needed < epsilon * 0.99].all()
    assert not attacked.success[needed > epsilon * 1.01].any()


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_breaks_more_than_fgsm(norm):
    classifier, images, labels = small_problem(count=64)
    epsilon = 0.01 if norm == "linf" else 0.1
    pgd = PGD(norm=norm, epsilon=epsilon, steps=20, restarts=2).attack(classifier, images, labels)
    fgsm = FGSM(norm=norm, epsilon=epsilon).attack(classifier, images, labels)
    assert pgd.success.sum() >= fgsm.success.sum()
    assert 0 < fgsm.success.sum() < 64


def test_targeted_reaches_the_target():
    classifier, images, labels = small_problem(count=30)
    targets = (labels + 2) % 5
    attacked = PGD(epsilon=0.3, steps=30).attack(classifier, images, targets, criterion=Targeted())
    assert attacked.success.float().mean() > 0.8
    assert torch.equal(classifier(attacked.images).argmax(1)[attacked.success], targets[attacked.success])


def test_same_seed_same_images_other_seed_other_images():
    classifier, images, labels = small_problem()
    attack = PGD(epsilon=0.1, steps=3)
    first, again, other = (attack.attack(classifier, images, labels, rng=Randomness(s)) for s in (0, 0, 1))
    assert torch.equal(first.images, again.images)
    assert not torch.equal(first.images, other.images)


def test_parameters_are_validated():
    for wrong in ({"epsilon": -0.1}, {"steps": 0}, {"norm": "l1"}, {"step_size": 0}, {"restarts": 0}, {"step": 3}):
        with pytest.raises(InputError):
            PGD(**wrong)
    with pytest.raises(InputError, match="5 restarts without a random start would walk the same path 5 times"):
        PGD(random_start=False, restarts=5)
    assert repr(PGD(steps=3)).startswith("PGD(epsilon=0.031")
