"""Steps with momentum, box before ball, and when a search is sure."""

import pytest
import torch

from snellen.methods.attacks.perturbation.projections import l2_norm
from snellen.systems.smooth_inversion.steps import BoxThenBall, MomentumStep, Sure


@pytest.mark.covers("33.3")
def test_steps_are_those_of_torch_on_gradients_of_length_one():
    generator = torch.Generator().manual_seed(0)
    gradients = [100 * torch.randn(2, 3, 4, 4, generator=generator) for _ in range(5)]
    start = torch.randn(2, 3, 4, 4, generator=generator)
    rule = MomentumStep(0.3, 0.9, halve_every=2)
    ours, memory = start, rule.start(start)
    theirs = start.clone().requires_grad_(True)
    optimizer = torch.optim.SGD([theirs], lr=0.3, momentum=0.9, maximize=True)
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, 2, 0.5)
    for iteration, gradient in enumerate(gradients):
        ours, memory = rule.step(ours, gradient, memory, iteration)
        theirs.grad = gradient / l2_norm(gradient)
        optimizer.step()
        schedule.step()
        assert torch.allclose(ours, theirs.detach(), atol=1e-6)


@pytest.mark.covers("33.3")
def test_a_zero_gradient_adds_nothing_and_its_neighbour_is_not_touched_by_it():
    rule = MomentumStep(1.0, 0.5)
    variables = torch.zeros(2, 1, 1, 2)
    gradient = torch.tensor([[[[0.0, 0.0]]], [[[3e-30, 4e-30]]]])
    first, memory = rule.step(variables, gradient, rule.start(variables), 0)
    assert first.flatten().tolist() == pytest.approx([0, 0, 0.6, 0.8])
    second, _ = rule.step(first, torch.zeros_like(gradient), memory, 1)
    assert second.flatten().tolist() == pytest.approx([0, 0, 0.9, 1.2])


@pytest.mark.covers("33.4")
@pytest.mark.covers("33.5")
def test_the_box_comes_first_and_the_ball_second():
    images = torch.tensor([[[[0.9, 0.5]]]])
    found = BoxThenBall(0.2).project(torch.tensor([[[[1.9, 0.7]]]]), images)
    # The change is cut to (0.1, 0.2) and then scaled; the other way round it would be (0.1, 0.04).
    change = torch.tensor([0.1, 0.2])
    assert torch.allclose(found.flatten(), images.flatten() + change * 0.2 / change.norm(), atol=1e-6)
    generator = torch.Generator().manual_seed(1)
    many = torch.rand(50, 3, 8, 8, generator=generator)
    kept = BoxThenBall(1.5).project(many + torch.randn(50, 3, 8, 8, generator=generator), many)
    assert float(l2_norm(kept - many).max()) <= 1.5 + 1e-5
    assert 0 <= float(kept.min()) <= float(kept.max()) <= 1
    inside = many + 0.01 * (0.5 - many)
    assert torch.allclose(BoxThenBall(1.5).project(inside, many), inside, atol=1e-6)


def test_a_search_is_sure_after_steps_in_a_row_of_its_own():
    sure = Sure(3, probability=0.9, patience=2)
    high, low = -torch.tensor(0.95).log(), -torch.tensor(0.5).log()
    assert sure(torch.stack([high, low, high]), torch.tensor([0, 1, 2]), 0).tolist() == [False] * 3
    # The second image has left: positions say whose values come.
    assert sure(torch.stack([high, low]), torch.tensor([0, 2]), 1).tolist() == [True, False]
    assert sure(torch.stack([high]), torch.tensor([2]), 2).tolist() == [False]
