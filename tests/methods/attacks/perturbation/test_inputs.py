"""Images and labels that an attack refuses, and those it takes in any state of autograd."""

import pytest
import torch
from torch import nn

from snellen.core.classifier import Classifier
from snellen.core.criterion import MultilabelChanged
from snellen.core.errors import InputError
from snellen.methods.attacks.fgsm import FGSM
from snellen.methods.attacks.pgd import PGD
from snellen.testing.conformance import small_problem

ATTACKS = [FGSM(epsilon=0.02), PGD(epsilon=0.02, steps=3)]


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        (lambda labels: labels.float(), r"integer labels \(n,\) from 0 to 4; got torch.float32 \(12,\)"),
        (lambda labels: labels > 2, r"integer labels .* got torch.bool \(12,\)"),
        (lambda labels: labels - 1, r"from 0 to 4; got the value -1"),
        (lambda labels: labels + 1, r"from 0 to 4; got the value 5"),
        (lambda labels: nn.functional.one_hot(labels, 5), r"integer labels .* got torch.int64 \(12, 5\)"),
        (lambda labels: labels[0], r"integer labels .* got torch.int64 \(\)"),
        (lambda labels: labels.tolist(), r"as a tensor; got a list"),
        (lambda labels: labels[:3], r"12 images came with 3 labels"),
        (lambda labels: labels.to("meta"), r"images are on cpu, labels on meta"),
    ],
)
@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.name)
def test_wrong_labels_are_named(attack, wrong, told):
    classifier, images, labels = small_problem()
    assert set(labels.tolist()) == set(range(5))
    with classifier.counting() as spent, pytest.raises(InputError, match=told):
        attack.attack(classifier, images, wrong(labels))
    assert spent().queries == 0


def test_wrong_labels_of_a_multilabel_classifier_are_named():
    model = nn.Sequential(nn.Flatten(), nn.Linear(48, 4))
    classifier = Classifier(model, class_names="abcd", task="multilabel", name="several")
    images = torch.rand(6, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    labels = (classifier(images) > 0).long()
    attacked = FGSM(epsilon=0.5).attack(classifier, images, labels, criterion=MultilabelChanged())
    assert attacked.success.any()
    for wrong, told in (
        (labels[:, 0], r"several takes 0/1 labels \(n, 4\); got torch.int64 \(6,\)"),
        (labels[:, :3], r"got torch.int64 \(6, 3\)"),
        (labels * 2, r"0/1 labels .* got the value 2"),
    ):
        with pytest.raises(InputError, match=told):
            FGSM().attack(classifier, images, wrong, criterion=MultilabelChanged())


@pytest.mark.parametrize(
    "wrong", [lambda images: images.half(), lambda images: images[0], lambda images: images.numpy()]
)
def test_wrong_images_are_named(wrong):
    classifier, images, labels = small_problem()
    with pytest.raises(InputError, match=r"float32 or float64 \(n, 3, h, w\) in \[0, 1\]; got "):
        FGSM().attack(classifier, wrong(images), labels)


def test_narrow_integers_are_labels_too():
    classifier, images, labels = small_problem()
    wide, narrow = (FGSM(epsilon=0.02).attack(classifier, images, each) for each in (labels, labels.to(torch.uint8)))
    assert torch.equal(wide.images, narrow.images)


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.name)
@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode, torch.enable_grad])
def test_the_mode_of_the_caller_changes_nothing(attack, mode):
    classifier, images, labels = small_problem()
    usual = attack.attack(classifier, images, labels)
    with mode():
        inside = attack.attack(classifier, images, labels)
        copies = attack.attack(classifier, images.clone(), labels.clone())  # tensors made in this mode
    for other in (inside, copies):
        assert torch.equal(other.images, usual.images)
        assert torch.equal(other.success, usual.success)
        assert torch.equal(other.gradients, usual.gradients)


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.name)
def test_images_of_a_graph_are_detached(attack):
    classifier, images, labels = small_problem()
    attacked = attack.attack(classifier, (images.clone().requires_grad_(True) * 1), labels)
    assert torch.equal(attacked.images, attack.attack(classifier, images, labels).images)
    assert not attacked.images.requires_grad
    assert not attacked.scores.requires_grad
    assert not attacked.distance.requires_grad


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.name)
def test_an_empty_batch_gives_an_empty_result(attack):
    classifier, images, labels = small_problem()
    attacked = attack.attack(classifier, images[:0], labels[:0])
    assert attacked.images.shape == (0, 3, 8, 8)
    assert attacked.scores.shape == (0, 5)
    assert attacked.status == ()
    assert attacked.spent.queries == 0
    assert len(attacked.evidence(classifier, [], labels[:0], setting="s").table) == 0
