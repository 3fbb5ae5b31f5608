"""Giving up image by image."""

import torch

from snellen.core.criterion import Misclassified
from snellen.core.randomness import Randomness
from snellen.methods.attacks.perturbation import LinfBall, SignStep, cross_entropy, on_scores, perturb
from snellen.methods.attacks.perturbation.stopping import Hopeless, Stalled
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


def test_hopeless_gives_up_who_would_not_arrive_on_a_straight_line():
    hopeless = Hopeless(3, steps=100, share=0.2, direction=1)
    positions = torch.arange(3)
    assert not hopeless(torch.tensor([-10.0, -10.0, -10.0]), positions, 0).any()
    for iteration in range(1, 20):
        assert not hopeless(torch.full((3,), -10.0), positions, iteration).any(), "only at the end of an interval"
    # 80 steps are left, four times as many as the last interval: 7.5 + 4 · 2.5 > 0, 9 + 4 · 1 < 0, 8 = 4 · 2.
    assert hopeless(torch.tensor([-7.5, -9.0, -8.0]), positions, 20).tolist() == [False, True, False]


def test_hopeless_counts_the_best_so_far_and_forgets_it_at_a_new_start():
    hopeless, positions = Hopeless(1, steps=10, share=0.1, direction=-1), torch.tensor([0])
    assert not hopeless(torch.tensor([5.0]), positions, 0)
    assert not hopeless(torch.tensor([4.0]), positions, 1), "9 steps of length 1 are enough for 4"
    assert hopeless(torch.tensor([9.0]), positions, 2), "nothing gained"
    assert hopeless(torch.tensor([4.0]), positions, 3), "as near as before the way back: nothing gained either"
    assert not hopeless(torch.tensor([50.0]), positions, 0)
    assert not hopeless(torch.tensor([40.0]), positions, 1), "compared with 50, not with the 4 of the start before"


def test_hopeless_waits_for_a_first_finite_value():
    hopeless, positions = Hopeless(1, steps=10, share=0.1, direction=1), torch.tensor([0])
    for iteration in range(3):
        assert not hopeless(torch.tensor([-torch.inf]), positions, iteration)
    assert not hopeless(torch.tensor([-100.0]), positions, 3), "an infinite gain"
    assert hopeless(torch.tensor([-100.0]), positions, 4)
