from __future__ import annotations

import copy

import pytest
import torch
from pydantic import ValidationError
from torch import nn

from snellen.core.errors import InputError
from snellen.training import ImageStore, TrainingPlan, train
from snellen.training.optimizers import build_optimizer, split_decayed


class Mixed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(3, 4, 3)
        self.batch_norm = nn.BatchNorm2d(4)
        self.layer_norm = nn.LayerNorm((2, 2))  # a weight with two axes, and still a normalisation
        self.group_norm = nn.GroupNorm(2, 4)
        self.linear = nn.Linear(4, 2)
        self.tied = nn.Linear(4, 2, bias=False)
        self.tied.weight = self.linear.weight
        self.temperature = nn.Parameter(torch.ones(()))
        self.position_bias = nn.Parameter(torch.zeros(2, 2))
        self.frozen = nn.Linear(2, 2).requires_grad_(False)


def test_only_weights_are_decayed_and_each_parameter_comes_once() -> None:
    model = Mixed()
    decayed, kept = split_decayed(model)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    assert {names[id(parameter)] for parameter in decayed} == {"convolution.weight", "linear.weight"}
    assert len(kept) == len({id(parameter) for parameter in kept})
    assert {names[id(p)] for p in [*decayed, *kept]} == {n for n in names.values() if not n.startswith("frozen")}


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_decay_shrinks_weights_alone(optimizer: str) -> None:
    model = nn.Linear(2, 2)
    nn.init.constant_(model.weight, 1.0)
    nn.init.constant_(model.bias, 1.0)
    built = build_optimizer(model, TrainingPlan(optimizer=optimizer, learning_rate=0.1, weight_decay=0.5))
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    built.step()
    assert (model.weight < 1).all()
    assert model.bias.tolist() == [1.0, 1.0]


@pytest.mark.parametrize("optimizer", ["sgd", "sign"])
def test_a_module_with_a_rate_factor_learns_at_so_many_times_the_rate(optimizer: str) -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(3, 2), nn.Linear(2, 2))
    nn.init.constant_(network[1].weight, 0.5)
    network[2].rate_factor = 3.0
    before = copy.deepcopy(network)
    images = torch.full((4, 3, 1, 1), 255, dtype=torch.uint8)
    store = ImageStore.of_tensors(images, torch.zeros(4, dtype=torch.int64))
    plan = TrainingPlan(
        epochs=1, batch_size=4, optimizer=optimizer, learning_rate=0.01, momentum=0.5, weight_decay=0.0,
        schedule="constant",
    )  # fmt: skip
    trained = train(network, store, plan=plan)
    shown = store.images.to(torch.float32) / 255
    nn.functional.cross_entropy(before(shown), store.targets).backward()
    for name, factor in (("1.weight", 1.0), ("2.weight", 3.0)):
        weight = before.get_parameter(name)
        assert weight.grad is not None
        # The first step of SGD with Nesterov's momentum is (1 + momentum) times the gradient.
        step = weight.grad.sign() if optimizer == "sign" else 1.5 * weight.grad
        expected = weight.detach() - factor * 0.01 * step
        torch.testing.assert_close(trained.weights[name], expected, atol=1e-6, rtol=0)


def test_sgd_is_nesterov() -> None:
    built = build_optimizer(nn.Linear(2, 2), TrainingPlan(optimizer="sgd", momentum=0.8))
    assert isinstance(built, torch.optim.SGD)
    assert built.defaults["nesterov"]
    assert built.defaults["momentum"] == 0.8
    with pytest.raises(ValidationError, match="Nesterov"):
        TrainingPlan(optimizer="sgd", momentum=0)


def test_a_frozen_model_is_refused() -> None:
    with pytest.raises(InputError, match=r"Linear has no parameter .*requires_grad_\(True\)"):
        build_optimizer(nn.Linear(2, 2).requires_grad_(False), TrainingPlan())
