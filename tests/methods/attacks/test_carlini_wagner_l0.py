"""Carlini and Wagner in L0: a model that one pixel decides, and frozen pixels that stay clean."""

import torch
from torch import nn

from snellen.core.classifier import Classifier
from snellen.core.criterion import Targeted
from snellen.methods.attacks.carlini_wagner_l0 import CarliniWagnerL0
from snellen.testing.conformance import small_problem

FAST = {"steps": 40, "learning_rate": 0.1}


class ByPixels(nn.Module):
    """Class 1 needs as many bright pixels among the first eight as it is told; the others hardly matter."""

    def __init__(self, needed):
        super().__init__()
        self.needed = needed

    def forward(self, images):
        grey = images.mean(1).flatten(1)
        bright = grey[:, :8].sum(1) + 1e-3 * grey[:, 8:].sum(1)
        return torch.stack([torch.full_like(bright, self.needed - 0.25), bright], 1)


def test_finds_how_few_pixels_decide():
    for needed in (1, 3):
        classifier = Classifier(ByPixels(needed), class_names=["a", "b"])
        images = torch.full((2, 3, 6, 6), 0.02)
        attacked = CarliniWagnerL0(**FAST).attack(classifier, images, torch.tensor([0, 0]))
        assert attacked.success.all()
        changed = (attacked.images != images).any(1)
        assert torch.equal(attacked.distance, changed.flatten(1).sum(1).float())
        assert (attacked.distance <= needed + 1).all()
        assert not changed.flatten(1)[:, 8:].any()


def test_changes_far_fewer_pixels_than_there_are():
    classifier, images, labels = small_problem(count=8)
    attacked = CarliniWagnerL0(**FAST).attack(classifier, images, labels)
    assert attacked.success.all()
    assert float(attacked.distance.median()) <= 6
    targets = (labels + 1) % 5
    targeted = CarliniWagnerL0(**FAST).attack(classifier, images, targets, criterion=Targeted())
    assert torch.equal(classifier(targeted.images).argmax(1)[targeted.success], targets[targeted.success])


def test_a_failure_returns_the_clean_image():
    classifier = Classifier(ByPixels(100), class_names=["a", "b"])
    images = torch.rand(2, 3, 6, 6)
    attacked = CarliniWagnerL0(steps=3).attack(classifier, images, torch.tensor([0, 1]))
    assert attacked.status == ("not found", "already")
    assert torch.equal(attacked.images, images)
    assert attacked.distance.tolist() == [0, 0]
