"""Against torchattacks on the same model, images and starts."""

import pytest
import torch

from snellen.methods.attacks.apgd import APGD
from snellen.methods.attacks.carlini_wagner_l2 import CarliniWagnerL2
from snellen.methods.attacks.fgsm import FGSM
from snellen.methods.attacks.pgd import PGD
from snellen.methods.attacks.square import Square
from snellen.testing.conformance import small_problem

torchattacks = pytest.importorskip("torchattacks", reason="a peer that is compared with, not a dependency")


class Peer(torch.nn.Module):
    """torchattacks wants a module."""

    def __init__(self, classifier):
        super().__init__()
        self.classifier = classifier
        self.weight = torch.nn.Parameter(torch.zeros(1))  # it looks for a device

    def forward(self, images):
        return self.classifier(images)


@pytest.fixture
def problem():
    classifier, images, labels = small_problem(count=128, size=12)
    return classifier, Peer(classifier).eval(), images, labels


@pytest.mark.parametrize("epsilon", [0.005, 0.01])
def test_fgsm_success_within_one_image(problem, epsilon):
    classifier, peer, images, labels = problem
    ours = FGSM(epsilon=epsilon).attack(classifier, images, labels).success
    theirs = classifier(torchattacks.FGSM(peer, eps=epsilon)(images, labels)).argmax(1) != labels
    assert 0 < int(theirs.sum()) < len(images)
    assert abs(int(ours.sum()) - int(theirs.sum())) <= 1


def test_pgd_linf_success_within_one_image(problem):
    classifier, peer, images, labels = problem
    epsilon, size = 0.008, 0.002
    # Without random start both walk the same path; ours keeps an image at its first success.
    ours = PGD(epsilon=epsilon, step_size=size, steps=10, random_start=False).attack(classifier, images, labels)
    peer_attack = torchattacks.PGD(peer, eps=epsilon, alpha=size, steps=10, random_start=False)
    theirs = classifier(peer_attack(images, labels)).argmax(1) != labels
    assert 0 < int(theirs.sum()) < len(images)
    assert int(ours.success.sum()) - int(theirs.sum()) in (0, 1)
    assert not (theirs & ~ours.success).any()


def test_pgd_l2_success_within_one_image(problem):
    classifier, peer, images, labels = problem
    epsilon, size = 0.1, 0.02
    ours = PGD(norm="l2", epsilon=epsilon, step_size=size, steps=10, random_start=False)
    success = ours.attack(classifier, images, labels).success
    peer_attack = torchattacks.PGDL2(peer, eps=epsilon, alpha=size, steps=10, random_start=False)
    theirs = classifier(peer_attack(images, labels)).argmax(1) != labels
    assert 0 < int(theirs.sum()) < len(images)
    assert abs(int(success.sum()) - int(theirs.sum())) <= 1


def _ours_and_theirs(attack, peer_attack, classifier, images, labels):
    """Successes of both, judged by the classifier itself."""
    ours = attack.attack(classifier, images, labels)
    assert torch.equal(classifier(ours.images).argmax(1) != labels, ours.success)
    return int(ours.success.sum()), int((classifier(peer_attack(images, labels)).argmax(1) != labels).sum())


@pytest.mark.parametrize(("loss", "peer_loss"), [("cross_entropy", "ce"), ("dlr", "dlr")])
def test_apgd_finds_as_much(problem, loss, peer_loss):
    classifier, peer, images, labels = problem
    theirs = torchattacks.APGD(peer, eps=0.008, steps=20, loss=peer_loss)
    ours, other = _ours_and_theirs(APGD(epsilon=0.008, steps=20, loss=loss), theirs, classifier, images, labels)
    assert 0 < other < len(images)
    assert abs(ours - other) <= 3


def test_square_finds_as_much(problem):
    classifier, peer, images, labels = problem
    theirs = torchattacks.Square(peer, eps=0.02, n_queries=100)
    ours, other = _ours_and_theirs(Square(epsilon=0.02, queries=100), theirs, classifier, images, labels)
    assert 0 < other < len(images)
    # Both search at random: 128 images, and as many coins.
    assert abs(ours - other) <= 0.12 * len(images)


def test_failures_of_carlini_and_wagner_are_clean_images_and_no_fewer_are_found(problem):
    classifier, peer, images, labels = problem
    # One search at a weight at which some fail: another library returned black images for them.
    attack = CarliniWagnerL2(steps=50, searches=1, first_weight=1e-2, last_resort=False)
    attacked = attack.attack(classifier, images, labels)
    theirs = classifier(torchattacks.CW(peer, c=1e-2, steps=50)(images, labels)).argmax(1) != labels
    assert 0 < int(attacked.success.sum()) < len(images)
    assert int((classifier(attacked.images).argmax(1) != labels).sum()) == int(attacked.success.sum())
    assert torch.equal(attacked.images[~attacked.success], images[~attacked.success])
    assert int(attacked.success.sum()) >= int(theirs.sum()) - 3
