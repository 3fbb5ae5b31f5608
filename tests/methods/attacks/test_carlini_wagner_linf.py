"""Carlini and Wagner in L-infinity: a linear model, PGD, and the shrinking limit."""

import pytest
import torch
from torch import nn

from snellen.core.classifier import Classifier
from snellen.core.criterion import MultilabelChanged, Targeted
from snellen.core.errors import UnsupportedError
from snellen.methods.attacks.carlini_wagner_linf import CarliniWagnerLinf
from snellen.methods.attacks.pgd import PGD
from snellen.testing.conformance import small_problem

FAST = {"steps": 40, "first_weight": 1e-2, "weight_factor": 4.0}


def test_comes_near_to_the_smallest_change_of_a_linear_model():
    generator = torch.Generator().manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(48, 2))
    weight = torch.randn(48, generator=generator)
    model[1].weight.data = torch.stack([weight, -weight])
    model[1].bias.data.zero_()
    classifier = Classifier(model, class_names=["a", "b"])
    images = (0.5 + 0.1 * torch.randn(8, 3, 4, 4, generator=generator)).clamp(0.2, 0.8)
    # 0.05 from the boundary in the maximum norm: margin = 2 · w·x, and its slope is 2 ‖w‖₁.
    shift = (0.05 * weight.abs().sum() - images.flatten(1) @ weight) / (weight @ weight)
    images = images + (shift[:, None] * weight).view(-1, 3, 4, 4)
    labels = torch.zeros(8, dtype=torch.int64)
    attacked = CarliniWagnerLinf(**FAST).attack(classifier, images, labels)
    assert attacked.success.all()
    assert (attacked.distance >= 0.05 - 1e-5).all()
    assert (attacked.distance <= 0.05 * 1.15).all(), attacked.distance


def test_is_no_weaker_than_pgd_at_its_own_median():
    classifier, images, labels = small_problem(count=24)
    attacked = CarliniWagnerLinf(**FAST).attack(classifier, images, labels)
    assert attacked.success.all()
    median = float(attacked.distance.median())
    assert PGD(epsilon=median, steps=30).attack(classifier, images, labels).success.float().mean() <= 0.55


def test_targets_and_multilabel_decisions():
    classifier, images, labels = small_problem(count=6)
    targets = (labels + 1) % 5
    attacked = CarliniWagnerLinf(**FAST).attack(classifier, images, targets, criterion=Targeted())
    assert torch.equal(classifier(attacked.images).argmax(1)[attacked.success], targets[attacked.success])
    assert attacked.success.any()
    many = Classifier(classifier.module, class_names=list("abcde"), task="multilabel")
    decisions = (many(images) > 0).long()
    found = CarliniWagnerLinf(**FAST).attack(many, images, decisions, criterion=MultilabelChanged())
    assert found.success.all()
    assert ((many(found.images) > 0).long() != decisions).any(1).all()


def test_a_failure_returns_the_clean_image_and_labels_are_refused():
    class Stubborn(nn.Module):
        def forward(self, images):
            mean = images.flatten(1).mean(1)
            return torch.stack([mean + 10, mean], 1)

    images = torch.rand(2, 3, 4, 4)
    attacked = CarliniWagnerLinf(steps=4, first_weight=5.0).attack(
        Classifier(Stubborn(), class_names=["a", "b"]), images, torch.tensor([0, 0])
    )
    assert attacked.status == ("not found", "not found")
    assert torch.equal(attacked.images, images)
    told = Classifier(Stubborn(), class_names=["a", "b"], output="labels")
    with pytest.raises(UnsupportedError, match="hop_skip_jump"):
        CarliniWagnerLinf().attack(told, images, torch.tensor([0, 0]))
