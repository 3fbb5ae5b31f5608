"""Against torchattacks on the same model, images and starts."""

import pytest
import torch

from snellen.attacks.fgsm import FGSM
from snellen.attacks.pgd import PGD
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
