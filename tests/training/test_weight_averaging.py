from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from snellen.training.optimizers import average_into, warmed_decay


def test_average_is_the_closed_form() -> None:
    # a_t = d_t a_{t-1} + (1 - d_t) w_t, unrolled: every w_i with weight (1 - d_i) * product of the later decays.
    model, decay = nn.Linear(1, 1, bias=False), 0.9
    nn.init.constant_(model.weight, 5.0)
    average = copy.deepcopy(model)
    values = [1.0, -2.0, 4.0, 0.5]
    for update, value in enumerate(values, start=1):
        nn.init.constant_(model.weight, value)
        average_into(average, model, warmed_decay(decay, update))
    decays = [min(decay, (1 + t) / (10 + t)) for t in range(1, 5)]
    expected = 5.0 * torch.tensor(decays).prod()
    for i, value in enumerate(values):
        expected = expected + (1 - decays[i]) * value * torch.tensor(decays[i + 1 :]).prod()
    assert average.weight.item() == pytest.approx(expected.item(), rel=1e-5)


def test_warmed_decay_ends_at_the_decay() -> None:
    assert warmed_decay(0.5, 1) == pytest.approx(2 / 11)
    assert warmed_decay(0.5, 8) == pytest.approx(0.5)
    assert warmed_decay(0.5, 1000) == 0.5


def test_batchnorm_statistics_are_averaged_and_counters_copied() -> None:
    model = nn.BatchNorm1d(2)
    average = copy.deepcopy(model)
    model.running_mean.fill_(4.0)
    model.num_batches_tracked.fill_(7)
    average_into(average, model, 0.75)
    assert average.running_mean.tolist() == [1.0, 1.0]
    assert average.num_batches_tracked.item() == 7


def test_tied_parameters_move_once() -> None:
    model = nn.ModuleDict({"a": nn.Linear(1, 1, bias=False), "b": nn.Linear(1, 1, bias=False)})
    model["b"].weight = model["a"].weight
    nn.init.constant_(model["a"].weight, 0.0)
    average = copy.deepcopy(model)
    nn.init.constant_(model["a"].weight, 1.0)
    average_into(average, model, 0.5)
    assert average["b"].weight.item() == 0.5
