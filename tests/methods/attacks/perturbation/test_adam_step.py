"""Adam as a step rule against torch's."""

import torch

from snellen.methods.attacks.perturbation.steps import AdamStep


def test_moves_like_the_optimiser_of_torch():
    generator = torch.Generator().manual_seed(0)
    start = torch.randn(3, 2, 2, 2, generator=generator, dtype=torch.float64)
    gradients = torch.randn(30, 3, 2, 2, 2, generator=generator, dtype=torch.float64)
    parameter = torch.nn.Parameter(start.clone())
    optimiser = torch.optim.Adam([parameter], lr=0.01, maximize=True)
    rule = AdamStep(0.01)
    variables, memory = start, rule.start(start)
    for iteration, gradient in enumerate(gradients):
        parameter.grad = gradient.clone()
        optimiser.step()
        variables, memory = rule.step(variables, gradient, memory, iteration)
        assert torch.allclose(variables, parameter.detach(), rtol=0, atol=1e-12)


def test_an_image_that_leaves_changes_nothing_for_the_others():
    start = torch.zeros(3, 1, 1, 2)
    gradients = torch.arange(18.0).view(3, 3, 1, 1, 2).sin()
    rule = AdamStep(0.1)
    whole, memory = start, rule.start(start)
    part, part_memory = start, rule.start(start)
    for iteration, gradient in enumerate(gradients):
        whole, memory = rule.step(whole, gradient, memory, iteration)
        if iteration == 1:
            part, part_memory = part[1:], {name: tensor[1:] for name, tensor in part_memory.items()}
        part, part_memory = rule.step(part, gradient[-len(part) :], part_memory, iteration)
    assert torch.equal(part, whole[1:])


def test_a_gradient_of_zero_moves_nothing():
    rule, start = AdamStep(0.1), torch.ones(1, 3, 2, 2)
    assert torch.equal(rule.step(start, torch.zeros_like(start), rule.start(start), 0)[0], start)
