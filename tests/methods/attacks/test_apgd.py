"""Auto-PGD: exact on a linear model, no weaker than PGD, and its targeted losses."""

import pytest
import torch
from torch import nn

from snellen.core.classifier import Classifier
from snellen.core.criterion import MultilabelChanged, Targeted
from snellen.core.errors import InputError, UnsupportedError
from snellen.methods.attacks.apgd import APGD
from snellen.methods.attacks.pgd import PGD
from snellen.testing.conformance import small_problem
from tests.methods.attacks.linear_model import linear_problem

LOSSES = ["cross_entropy", "dlr", "margin", "targeted_dlr", "targeted_margin"]
TARGETED = ["targeted_dlr", "targeted_margin"]


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("loss", ["cross_entropy", "margin", "targeted_margin"])
def test_breaks_exactly_what_can_be_broken_on_a_linear_model(norm, loss):
    classifier, images, labels, needed = linear_problem(norm)
    epsilon = float(needed.median())
    attacked = APGD(norm=norm, epsilon=epsilon, loss=loss, steps=30).attack(classifier, images, labels)
    assert attacked.success[needed < epsilon * 0.99].all()
    assert not attacked.success[needed > epsilon * 1.01].any()


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_breaks_no_less_than_pgd(norm):
    classifier, images, labels = small_problem(count=64)
    epsilon = 0.01 if norm == "linf" else 0.1
    pgd = PGD(norm=norm, epsilon=epsilon, steps=40).attack(classifier, images, labels)
    plain = APGD(norm=norm, epsilon=epsilon, steps=40).attack(classifier, images, labels)
    targeted = APGD(norm=norm, epsilon=epsilon, steps=40, loss="targeted_dlr").attack(classifier, images, labels)
    assert 0 < pgd.success.sum() <= plain.success.sum() <= targeted.success.sum() < 64


def test_images_leave_at_their_first_success():
    classifier, images, labels = small_problem(count=24)
    attacked = APGD(epsilon=0.2).attack(classifier, images, labels)
    assert attacked.success.all()
    assert int(attacked.queries.max()) < 20, "a hundred steps would take 102"


@pytest.mark.parametrize("loss", LOSSES)
def test_queries_stay_within_what_is_reported(loss):
    classifier, images, labels = small_problem()
    attack = APGD(epsilon=0.001, steps=7, restarts=2, target_classes=3, loss=loss)
    attacked = attack.attack(classifier, images, labels)
    classes = 3 if loss in TARGETED else 1
    standing = ~attacked.success
    assert standing.any()
    assert attacked.queries[standing].unique().tolist() == [classes * 2 * 8 + 1]
    assert attacked.gradients[standing].unique().tolist() == [classes * 2 * 7]


@pytest.mark.parametrize("loss", [loss for loss in LOSSES if loss != "dlr"])  # whose scale rewards other classes too
def test_reaches_a_target(loss):
    classifier, images, labels = small_problem(count=30)
    targets = (labels + 2) % 5
    attacked = APGD(epsilon=0.3, steps=30, loss=loss).attack(classifier, images, targets, criterion=Targeted())
    assert attacked.success.float().mean() > 0.8
    assert torch.equal(classifier(attacked.images).argmax(1)[attacked.success], targets[attacked.success])


def test_a_targeted_loss_finds_what_lies_behind_the_second_class():
    # The nearest other class never becomes the best: its score is capped below the label's.
    class Capped(nn.Module):
        def forward(self, images):
            mean = images.flatten(1).mean(1)
            label, second = torch.ones_like(mean), (0.9 + mean).clamp(max=0.99)
            third = (mean - 0.5) * 8
            return torch.stack([label, second, third, third - 5], 1)

    classifier = Classifier(Capped(), class_names="abcd")
    images, labels = torch.full((3, 3, 4, 4), 0.5), torch.zeros(3, dtype=torch.int64)
    attack = {"epsilon": 0.2, "loss": "targeted_dlr", "steps": 10}
    assert not APGD(target_classes=1, **attack).attack(classifier, images, labels).success.any()
    assert APGD(target_classes=2, **attack).attack(classifier, images, labels).success.all()


def test_double_precision_stays_double():
    classifier, images, labels = small_problem()
    classifier.module.double()
    for loss in LOSSES:
        attacked = APGD(epsilon=0.02, steps=10, loss=loss).attack(classifier, images.double(), labels)
        assert attacked.images.dtype == torch.float64
        assert attacked.success.any()


def test_several_labels_an_image_can_be_attacked_on_cross_entropy_alone():
    classifier, images, _ = small_problem()
    several = Classifier(classifier.module, class_names="abcde", task="multilabel", name="several")
    labels = (several(images) > 0).long()
    attacked = APGD(epsilon=0.05, steps=10).attack(several, images, labels, criterion=MultilabelChanged())
    assert attacked.success.all()
    for loss in LOSSES[1:]:
        with pytest.raises(UnsupportedError, match="several has the task 'multilabel'"):
            APGD(loss=loss).attack(several, images, labels, criterion=MultilabelChanged())


def test_errors_name_the_cause():
    _, images, labels = small_problem()
    blind = Classifier(lambda x: x.flatten(1)[:, :5], class_names="abcde", name="blind")
    for loss in LOSSES:
        with pytest.raises(UnsupportedError, match="needs gradients, and blind gives none"):
            APGD(loss=loss).attack(blind, images, labels)
    three = Classifier(nn.Sequential(nn.Flatten(), nn.Linear(192, 3)), class_names="abc")
    with pytest.raises(InputError, match="needs k >= 4 classes; got k = 3"):
        APGD(loss="targeted_dlr").attack(three, images, three(images).argmax(1))
    for wrong in ({"loss": "ce"}, {"steps": 0}, {"epsilon": -1}, {"target_classes": 0}, {"step_size": 0.1}):
        with pytest.raises(InputError):
            APGD(**wrong)
