"""Auto-PGD steps against algorithm 1 written out for one image, and against plain projected gradient ascent."""

import pytest
import torch
import torch.nn.functional as F

from snellen.core.criterion import Misclassified
from snellen.core.randomness import Randomness
from snellen.methods.attacks.perturbation import (
    L2Ball,
    LinfBall,
    NormalizedStep,
    SignStep,
    cross_entropy,
    on_scores,
    perturb,
)
from snellen.methods.attacks.perturbation.auto_step import AutoStep, checkpoints
from snellen.testing.conformance import small_problem


def unit(gradient):
    return gradient / gradient.flatten(1).norm(dim=1).clamp(min=1e-12).view(-1, 1, 1, 1)


PARTS = {"linf": (LinfBall(0.02), torch.sign, SignStep), "l2": (L2Ball(0.2), unit, NormalizedStep)}


def test_checkpoints_are_those_of_the_paper():
    # Croce and Hein (2020), section 3: p = 0.22, 0.41, 0.57, 0.70, 0.80, 0.87, 0.93, 0.99 of the steps, rounded up.
    assert checkpoints(100) == (22, 41, 57, 70, 80, 87, 93, 99)
    assert checkpoints(1000) == (220, 410, 570, 700, 800, 870, 930, 990)
    assert checkpoints(50) == (11, 21, 29, 35, 40, 44, 47, 50)


@pytest.mark.parametrize("steps", [1, 2, 3, 7, 19, 333])
def test_checkpoints_rise_and_stay_within_the_steps(steps):
    marks = checkpoints(steps)
    assert list(marks) == sorted(set(marks))
    assert marks[0] >= 1
    assert marks[-1] <= steps


def algorithm_1(classifier, image, label, start, *, ball, direction, size, steps):
    """Algorithm 1 as a reader would type it: one image, every iterate and every value in a list."""

    def look(x):
        x = x.clone().requires_grad_(True)
        value = F.cross_entropy(classifier(x), label)
        (gradient,) = torch.autograd.grad(value, x)
        return value.item(), gradient

    x, before, length = start, start, size
    value, gradient = look(x)
    values, best = [value], (value, x, gradient)
    reduced, best_then, mark, lengths = False, value, 0, []
    for k in range(steps):
        if k in checkpoints(steps):
            rises = sum(values[i + 1] > values[i] for i in range(mark, k))
            halve = rises < 0.75 * (k - mark) or (not reduced and best[0] <= best_then)
            if halve:
                length, x, gradient = length / 2, best[1], best[2]
            reduced, best_then, mark = halve, best[0], k
        z = ball.project(x + length * direction(gradient), image)
        weight = 0.75 if k else 1.0
        new = ball.project(x + weight * (z - x) + (1 - weight) * (x - before), image)
        before, x = x, new
        value, gradient = look(x)
        values.append(value)
        if value > best[0]:
            best = (value, x, gradient)
        lengths.append(length)
    return x, lengths


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_last_iterates_equal_algorithm_1_written_out(norm):
    classifier, images, labels = small_problem(count=6)
    classifier.module.double()
    images, (ball, direction, _) = images.double(), PARTS[norm]
    rng, steps = Randomness(5).bind(6), 41
    start = ball.sample(images, rng.child("restart", 0)).double()
    rule = AutoStep(ball, direction, 2 * ball.epsilon, steps)
    attacked = perturb(
        classifier, images, labels, evaluate=on_scores(classifier, cross_entropy), projection=ball, step_rule=rule,
        criterion=Misclassified(), steps=steps, rng=rng, random_start=True, keep="last",
    )  # fmt: skip
    halved = 0
    for i in range(6):
        expected, lengths = algorithm_1(
            classifier, images[[i]], labels[[i]], start[[i]], ball=ball, direction=direction, size=rule.size,
            steps=steps,
        )  # fmt: skip
        assert (attacked.images[i] - expected[0]).abs().max() < 1e-9
        halved += len(set(lengths)) > 1
    assert halved == 6, "every image must halve its length at least once, or this test proves little"


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_one_step_is_a_step_of_projected_gradient_ascent(norm):
    classifier, images, labels = small_problem()
    ball, direction, plain = PARTS[norm]
    size = ball.epsilon / 2
    outcomes = [
        perturb(
            classifier, images, labels, evaluate=on_scores(classifier, cross_entropy), projection=ball, step_rule=rule,
            criterion=Misclassified(), steps=1, rng=Randomness(0), random_start=True, keep="last",
        ).images
        for rule in (AutoStep(ball, direction, size, 1), plain(size))
    ]  # fmt: skip
    assert torch.allclose(*outcomes, atol=1e-7)


def test_without_momentum_and_checkpoints_it_is_projected_gradient_ascent():
    classifier, images, labels = small_problem()
    ball = LinfBall(0.02)
    # 22 steps before the first checkpoint of 100.
    outcomes = [
        perturb(
            classifier, images, labels, evaluate=on_scores(classifier, cross_entropy), projection=ball, step_rule=rule,
            criterion=Misclassified(), steps=20, rng=Randomness(0), random_start=True, keep="last",
        ).images
        for rule in (AutoStep(ball, torch.sign, 0.004, 100, momentum=1.0), SignStep(0.004))
    ]  # fmt: skip
    assert torch.allclose(*outcomes, atol=1e-6)


def climb(values, steps=100):
    """Feed a rule with these values of one image and tell its lengths."""
    rule = AutoStep(LinfBall(1.0), torch.sign, 2.0, steps)
    x = torch.full((1, 3, 1, 1), 0.5)
    memory, lengths = rule.start(x), []
    for iteration, value in enumerate(values):
        memory = rule.watch(torch.tensor([value]), x, memory)
        _, memory = rule.step(x, torch.ones_like(x), memory, iteration)
        lengths.append(float(memory["size"]))
    return lengths


def test_an_image_that_always_rises_keeps_its_length():
    assert climb([float(i) for i in range(100)]) == [2.0] * 100


def test_an_image_that_oscillates_has_its_step_cut_at_every_checkpoint():
    lengths = climb([float(i % 2) for i in range(100)])
    assert lengths[21:23] == [2.0, 1.0]
    assert lengths[-1] == 2.0 / 2**8


def test_an_image_that_rises_without_a_new_best_has_its_step_cut_at_every_second_checkpoint():
    # Falls deep once, then rises all the time below its first value: only the second condition speaks.
    values = [1000.0, *(float(i) for i in range(99))]
    lengths = climb(values)
    assert lengths[22] == 1.0
    assert lengths[41] == 1.0, "a length that has just been halved is given time"
    assert lengths[57] == 0.5
