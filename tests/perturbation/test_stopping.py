"""Giving up image by image."""

import torch

from snellen.criterion import Misclassified
from snellen.perturbation import LinfBall, SignStep, cross_entropy, on_scores, perturb
from snellen.perturbation.stopping import Stalled
from snellen.randomness import Randomness
from snellen.testing.conformance import small_problem


def test_compares_with_one_interval_ago_and_only_then():
    stalled = Stalled(1, interval=2, direction=1)
    only = torch.tensor([0])
    losses = [5.0, 9.0, 4.0, 4.0, 3.9999]
    assert [bool(stalled(torch.tensor([-v]), only, i)) for i, v in enumerate(losses)] == [False] * 4 + [True]


def test_a_fall_below_the_share_goes_on():
    stalled = Stalled(1, interval=1, direction=-1, share=0.5)
    only = torch.tensor([0])
    assert [bool(stalled(torch.tensor([v]), only, i)) for i, v in enumerate([8.0, 4.0, 2.1])] == [False, False, True]


def test_a_new_start_has_no_past():
    stalled = Stalled(1, interval=1, direction=1)
    only = torch.tensor([0])
    stalled(torch.tensor([-1.0]), only, 5)
    assert not stalled(torch.tensor([-100.0]), only, 0)


def test_every_image_has_its_own_past():
    stalled = Stalled(3, interval=1, direction=1)
    stalled(torch.tensor([-3.0, -3.0, -3.0]), torch.arange(3), 0)
    assert stalled(torch.tensor([-2.0, -3.0]), torch.tensor([0, 2]), 1).tolist() == [False, True]


def test_the_loop_lets_stopped_images_go_and_counts_what_they_cost():
    classifier, images, labels = small_problem(count=6)

    def stop(values, positions, iteration):
        return positions * 2 <= iteration

    with classifier.counting() as spent:
        attacked = perturb(
            classifier, images, labels, evaluate=on_scores(classifier, cross_entropy), projection=LinfBall(1e-4),
            step_rule=SignStep(1e-5), criterion=Misclassified(), steps=20, rng=Randomness(0), stop=stop,
        )  # fmt: skip
    assert attacked.queries.tolist() == [1, 3, 5, 7, 9, 11]
    assert attacked.spent.counts() == spent().counts()
    assert not attacked.success.any()
