from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn

from snellen.core.errors import InputError, RunConflictError
from snellen.training import Batch, ImageStore, Trained, TrainingPlan, classify, train
from snellen.training.checkpoints import Checkpoint, TrainingState, restore_optimizer
from snellen.training.optimizers import build_optimizer
from snellen.training.transforms import random_flips

# 48 examples in batches of 5, two to a step: 5 steps an epoch, 15 in all.
PLAN = TrainingPlan(
    epochs=3, batch_size=5, accumulate=2, learning_rate=0.01, ema_decay=0.9, clip_norm=1.0, checkpoint_every=1
)


class StoppedError(Exception):
    pass


class StopAfter:
    """Kills a training after a number of steps."""

    def __init__(self, steps: int) -> None:
        self.left = steps

    def begin(self, task: str, total: float) -> None:
        pass

    def advance(self, task: str, amount: float, note: str = "") -> None:
        self.left -= int(amount)
        if self.left <= 0:
            raise StoppedError

    def finish(self, task: str) -> None:
        pass


def assert_same(first: Trained, second: Trained) -> None:
    assert first.history == second.history
    assert (first.best_epoch, first.steps) == (second.best_epoch, second.steps)
    assert set(first.weights) == set(second.weights)
    for name, tensor in first.weights.items():
        assert torch.equal(tensor, second.weights[name]), name


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
@pytest.mark.parametrize(
    ("every", "stop"),
    [(1, 7), (1, 5), (3, 8), (None, 8)],
    ids=["mid-epoch", "before an epoch is closed", "between checkpoints", "at an epoch boundary"],
)
def test_a_stopped_training_ends_with_the_same_bits(
    tmp_path: Path,
    toy: ImageStore,
    toy_val: ImageStore,
    network: nn.Module,
    optimizer: str,
    every: int | None,
    stop: int,
) -> None:
    plan = PLAN.model_copy(update={"optimizer": optimizer, "checkpoint_every": every, "channels_last": stop == 7})
    whole = train(network, toy, plan=plan, transform=random_flips, val=toy_val)
    path = tmp_path / "training.safetensors"
    with pytest.raises(StoppedError):
        train(network, toy, plan=plan, transform=random_flips, val=toy_val, checkpoint=path, progress=StopAfter(stop))
    torch.manual_seed(12345)
    assert_same(whole, train(network, toy, plan=plan, transform=random_flips, val=toy_val, checkpoint=path))


def test_stopping_again_and_again_changes_nothing(
    tmp_path: Path, toy: ImageStore, toy_val: ImageStore, network: nn.Module
) -> None:
    path, steps = tmp_path / "training.safetensors", 0
    while True:
        steps += 4  # a resumed training first reports the steps that it need not repeat
        try:
            again = train(network, toy, plan=PLAN, val=toy_val, checkpoint=path, progress=StopAfter(steps))
            break
        except StoppedError:
            continue
    assert steps > 12
    assert_same(train(network, toy, plan=PLAN, val=toy_val), again)


def test_a_finished_training_is_not_repeated(tmp_path: Path, toy: ImageStore, network: nn.Module) -> None:
    path = tmp_path / "training.safetensors"
    first = train(network, toy, plan=PLAN, checkpoint=path)

    def objective(_model: nn.Module, _batch: object) -> torch.Tensor:
        raise AssertionError("trained again")

    assert_same(first, train(network, toy, plan=PLAN, checkpoint=path, objective=objective))


def test_completed_epochs_are_not_repeated(tmp_path: Path, toy: ImageStore, network: nn.Module) -> None:
    path, plan = tmp_path / "training.safetensors", PLAN.model_copy(update={"checkpoint_every": None})
    calls = 0

    def objective(model: nn.Module, batch: Batch) -> torch.Tensor:
        nonlocal calls
        calls += 1
        return classify(model, batch)

    with pytest.raises(StoppedError):
        train(network, toy, plan=plan, objective=objective, checkpoint=path, progress=StopAfter(12))
    calls = 0
    train(network, toy, plan=plan, objective=objective, checkpoint=path)
    assert calls == 10  # the batches of the third epoch


def test_the_best_weights_survive_a_stop(tmp_path: Path, toy: ImageStore, network: nn.Module) -> None:
    path = tmp_path / "training.safetensors"
    figures = {5: 0.9, 10: 0.1, 15: 0.2}
    steps_seen: list[int] = []

    def evaluate(model: nn.Module, _examples: object) -> dict[str, float]:
        steps_seen.append(5 * (len(steps_seen) + 1))
        return {"accuracy": figures[steps_seen[-1]]}

    whole = train(network, toy, plan=PLAN, val=toy, evaluate=evaluate)
    steps_seen.clear()
    with pytest.raises(StoppedError):
        train(network, toy, plan=PLAN, val=toy, evaluate=evaluate, checkpoint=path, progress=StopAfter(12))
    resumed = train(network, toy, plan=PLAN, val=toy, evaluate=evaluate, checkpoint=path)
    assert resumed.best_epoch == 1
    assert_same(whole, resumed)


def test_tied_weights_can_be_saved(tmp_path: Path, toy: ImageStore) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(192, 192), nn.ReLU(), nn.Linear(192, 192), nn.Linear(192, 2))
    model[3].weight = model[1].weight
    path = tmp_path / "training.safetensors"
    whole = train(model, toy, plan=PLAN)
    with pytest.raises(StoppedError):
        train(model, toy, plan=PLAN, checkpoint=path, progress=StopAfter(7))
    assert_same(whole, train(model, toy, plan=PLAN, checkpoint=path))


# -- another training ----------------------------------------------------------------------------------------------


def test_a_checkpoint_of_another_training_is_refused(
    tmp_path: Path, toy: ImageStore, toy_val: ImageStore, linear: nn.Module
) -> None:
    path = tmp_path / "training.safetensors"
    train(linear, toy, plan=PLAN, checkpoint=path, recipe={"teacher": "a"})
    kept = path.read_bytes()
    changed = PLAN.model_copy(update={"learning_rate": 0.5})
    with pytest.raises(RunConflictError, match=r"differs in: plan\.learning_rate;"):
        train(linear, toy, plan=changed, checkpoint=path, recipe={"teacher": "a"})
    with pytest.raises(RunConflictError, match=r"differs in: recipe\.teacher;"):
        train(linear, toy, plan=PLAN, checkpoint=path, recipe={"teacher": "b"})
    with pytest.raises(RunConflictError, match=r"differs in: train, val;"):
        train(linear, toy_val, plan=PLAN, val=toy, checkpoint=path, recipe={"teacher": "a"})
    with torch.no_grad():
        linear[1].bias += 1
    with pytest.raises(RunConflictError, match=r"differs in: initial weights;"):
        train(linear, toy, plan=PLAN, checkpoint=path, recipe={"teacher": "a"})
    assert path.read_bytes() == kept


def test_only_the_interval_of_checkpoints_may_change(tmp_path: Path, toy: ImageStore, linear: nn.Module) -> None:
    path = tmp_path / "training.safetensors"
    with pytest.raises(StoppedError):
        train(linear, toy, plan=PLAN, checkpoint=path, progress=StopAfter(7))
    resumed = train(linear, toy, plan=PLAN.model_copy(update={"checkpoint_every": None}), checkpoint=path)
    assert_same(train(linear, toy, plan=PLAN), resumed)


@pytest.mark.parametrize("damage", ["cut", "text", "no header"])
def test_a_damaged_checkpoint_is_refused(tmp_path: Path, toy: ImageStore, linear: nn.Module, damage: str) -> None:
    path = tmp_path / "training.safetensors"
    train(linear, toy, plan=PLAN, checkpoint=path)
    if damage == "no header":
        save_file({"model/x": torch.zeros(1)}, path)
    else:
        path.write_bytes(path.read_bytes()[:-20] if damage == "cut" else b"{}")
    with pytest.raises(InputError, match="not a readable checkpoint"):
        train(linear, toy, plan=PLAN, checkpoint=path)


# -- the file ------------------------------------------------------------------------------------------------------


def test_a_checkpoint_is_safetensors_with_json_and_leaves_no_other_file(
    tmp_path: Path, toy: ImageStore, network: nn.Module
) -> None:
    path = tmp_path / "training.safetensors"
    train(network, toy, plan=PLAN, checkpoint=path)
    assert [file.name for file in tmp_path.iterdir()] == ["training.safetensors"]
    with safe_open(path, framework="pt") as stream:
        parts = {key.split("/")[0] for key in stream.keys()}  # noqa: SIM118
    assert parts == {"model", "average", "best", "optimizer"}


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    path, identity = tmp_path / "c.safetensors", {"plan": {"seed": 1}, "val": None}
    state = TrainingState(step=7, epoch=2, loss_sum=0.1 + 0.2, weight_sum=3.0, history=[{"epoch": 1, "x": 1 / 3}])
    optimizer = {0: {"step": torch.tensor(7.0), "exp_avg": torch.rand(2, 2)}, 3: {"momentum_buffer": None}}
    scaler = {"scale": 65536.0, "_growth_tracker": 3}
    Checkpoint(identity, state, {"model": {"a/b": torch.rand(3)}, "best": {}}, optimizer, scaler).write(path)
    again = Checkpoint.read(path, identity)
    assert again.state == state
    assert again.scaler == scaler
    assert again.optimizer[3] == {"momentum_buffer": None}
    assert torch.equal(again.optimizer[0]["exp_avg"], optimizer[0]["exp_avg"])
    assert list(again.tensors["model"]) == ["a/b"]


def test_a_restored_optimizer_keeps_the_memory_layout() -> None:
    model = nn.Conv2d(3, 4, 3).to(memory_format=torch.channels_last)
    plan = TrainingPlan()
    optimizer = build_optimizer(model, plan)
    model(torch.rand(1, 3, 5, 5)).sum().backward()
    optimizer.step()
    saved = {n: {k: v.contiguous().clone() for k, v in e.items()} for n, e in optimizer.state_dict()["state"].items()}
    fresh = build_optimizer(model, plan)
    restore_optimizer(fresh, saved)
    moment, expected = (one.state[model.weight]["exp_avg"] for one in (fresh, optimizer))
    assert torch.equal(moment, expected)
    assert moment.stride() == model.weight.stride() == expected.stride() != saved[0]["exp_avg"].stride()
