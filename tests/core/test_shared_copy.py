"""Copies of modules that share weights and nothing else, and modules that no copy can stand for."""

from __future__ import annotations

import torch
from torch import nn

from snellen.core.shared_copy import is_tied, is_touched, shared_copy


class Counting(nn.Module):
    """Counts its calls in a tensor that is neither parameter nor buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.calls = nn.Linear(2, 1), torch.zeros(1)

    def forward(self, values):
        self.calls += 1
        return self.layer(values)


def test_plain_tensors_of_the_original_are_not_changed_by_a_copy():
    original = Counting()
    made = shared_copy(original, "counting")
    made(torch.ones(1, 2))
    assert (float(made.calls), float(original.calls)) == (1.0, 0.0)
    assert made.layer.weight.data_ptr() == original.layer.weight.data_ptr()


def test_functions_that_reach_for_layers_tie_a_module_and_hooks_touch_it():
    plain, hooked, closing = nn.Linear(2, 1), nn.Linear(2, 1), nn.Linear(2, 1)
    hooked.register_full_backward_hook(lambda *_: None)
    closing.body = lambda values: closing.weight @ values
    assert [is_touched(one) for one in (plain, hooked, closing)] == [False, True, False]
    assert [is_tied(one) for one in (plain, hooked, closing)] == [False, True, True]
    bound = nn.Sequential(nn.Linear(2, 1))
    bound.call = bound[0].forward
    assert is_tied(bound)
