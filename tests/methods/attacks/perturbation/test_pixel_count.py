"""Counting changes, and pixels that stay."""

import torch

from snellen.methods.attacks.perturbation import SignStep
from snellen.methods.attacks.perturbation.pixel_count import FrozenPixels, PixelCount, ValueCount
from snellen.methods.attacks.perturbation.steps import AdamStep


def test_counts_pixels_or_values():
    images = torch.zeros(2, 3, 2, 2)
    changed = images.clone()
    changed[0, :2, 0, 0] = 0.1
    changed[0, 2, 1, 1] = 1e-9
    assert PixelCount().distance(changed, images).tolist() == [2, 0]
    assert ValueCount().distance(changed, images).tolist() == [3, 0]
    assert PixelCount(largest=1).contains(changed, images).tolist() == [False, True]


def test_frozen_pixels_do_not_move_and_leave_with_their_image():
    frozen = torch.tensor([[[[True, False]]], [[[False, True]]]])
    rule = FrozenPixels(AdamStep(0.1), frozen)
    variables = torch.zeros(2, 3, 1, 2)
    memory = rule.start(variables)
    for iteration in range(3):
        variables, memory = rule.step(variables, torch.ones_like(variables), memory, iteration)
    assert torch.equal(variables == 0, frozen.expand_as(variables))
    memory = {name: tensor[1:] for name, tensor in memory.items()}
    variables, _ = rule.step(variables[1:], torch.ones(1, 3, 1, 2), memory, 3)
    assert (variables[..., 1] == 0).all()
    plain = FrozenPixels(SignStep(0.5), frozen)
    assert plain.step(torch.zeros(2, 3, 1, 2), torch.ones(2, 3, 1, 2), plain.start(variables), 0)[0].sum() == 3
