from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from snellen.core.errors import InputError, ModelError
from snellen.training import Batch, ImageStore, TrainingPlan, classify, train

PLAN = TrainingPlan(epochs=2, batch_size=8, optimizer="sgd", learning_rate=0.05, weight_decay=0.01)


def test_a_loss_that_is_not_finite_stops_with_epoch_and_step(toy: ImageStore, linear: nn.Module) -> None:
    calls = 0

    def objective(model: nn.Module, batch: Batch) -> Tensor:
        nonlocal calls
        calls += 1
        return classify(model, batch) * (float("nan") if calls == 8 else 1.0)

    with pytest.raises(ModelError, match=r"epoch 2, step 8: the loss is not finite for 8 of 8 examples"):
        train(linear, toy, plan=PLAN, objective=objective)


def test_weights_that_are_not_finite_stop_too(toy: ImageStore, linear: nn.Module) -> None:
    # The square root is finite at 0, its slope is not.
    def objective(model: nn.Module, batch: Batch) -> Tensor:
        return (model(batch.images).sum(1) * 0).sqrt()

    plan = PLAN.model_copy(update={"epochs": 1, "batch_size": 64})
    with pytest.raises(ModelError, match=r"epoch 1, step 1: the weights are not finite"):
        train(linear, toy, plan=plan, objective=objective)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_one_value_among_finite_ones_is_found(toy: ImageStore, linear: nn.Module, value: float) -> None:
    def objective(model: nn.Module, batch: Batch) -> Tensor:
        losses = classify(model, batch)
        with torch.no_grad():
            next(iter(model.parameters())).data.flatten()[3] = value
        return losses

    plan = PLAN.model_copy(update={"epochs": 1, "batch_size": 64, "learning_rate": 1e-9})
    with pytest.raises(ModelError, match=r"epoch 1, step 1: the weights are not finite"):
        train(linear, toy, plan=plan, objective=objective)


def test_a_mean_instead_of_losses_is_refused(toy: ImageStore, linear: nn.Module) -> None:
    with pytest.raises(InputError, match=r"returned \(\) for 8 examples"):
        train(linear, toy, plan=PLAN, objective=lambda model, batch: classify(model, batch).mean())


def test_drop_last_must_leave_something(toy: ImageStore, linear: nn.Module) -> None:
    with pytest.raises(InputError, match="drop_last leaves no batch of 64"):
        train(linear, toy, plan=PLAN.model_copy(update={"batch_size": 64, "drop_last": True}))
    assert train(linear, toy, plan=PLAN.model_copy(update={"batch_size": 20, "drop_last": True})).steps == 2 * 2


class Listener:
    def __init__(self) -> None:
        self.total = self.done = 0.0
        self.finished = False

    def begin(self, task: str, total: float) -> None:
        self.total = total

    def advance(self, task: str, amount: float, note: str = "") -> None:
        self.done += amount

    def finish(self, task: str) -> None:
        self.finished = True


def test_progress_counts_every_step(toy: ImageStore, linear: nn.Module) -> None:
    listener = Listener()
    train(linear, toy, plan=PLAN, progress=listener)
    assert listener.done == listener.total == 12
    assert listener.finished
