from __future__ import annotations

import copy
from collections.abc import Callable, Mapping

import pytest
import torch
from torch import Tensor, nn

from snellen.core.errors import InputError, ModelError, UnknownNameError
from snellen.core.randomness import Randomness
from snellen.training import (
    Batch,
    Examples,
    ImageStore,
    Trained,
    TrainingPlan,
    accuracy,
    classify,
    cross_entropy,
    train,
)
from snellen.training.transforms import random_flips

PLAN = TrainingPlan(epochs=2, batch_size=8, optimizer="sgd", learning_rate=0.05, weight_decay=0.01)


def same(first: Trained, second: Trained) -> bool:
    return all(torch.equal(first.weights[name], second.weights[name]) for name in first.weights)


def close(first: Trained, second: Trained, tolerance: float = 1e-6) -> bool:
    pairs = [(first.weights[name], second.weights[name]) for name in first.weights]
    return all(torch.allclose(a, b, atol=tolerance, rtol=0) for a, b in pairs)


def subset(store: ImageStore, positions: list[int], weights: Tensor | None = None) -> ImageStore:
    return ImageStore.of_tensors(store.images[positions], store.targets[positions], weights=weights)


# -- it learns, and only what it may -------------------------------------------------------------------------------


@pytest.mark.smoke
@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_the_toy_is_learned(toy: ImageStore, toy_val: ImageStore, network: nn.Module, optimizer: str) -> None:
    plan = TrainingPlan(
        epochs=12,
        batch_size=8,
        optimizer=optimizer,
        learning_rate=0.03 if optimizer == "sgd" else 0.01,
        schedule="one-cycle",
        warmup_steps=10,
        ema_decay=0.9,
        clip_norm=1.0,
    )
    before = copy.deepcopy(network.state_dict())
    trained = train(network, toy, plan=plan, val=toy_val)
    assert trained.history[-1]["val.accuracy"] > 0.95
    assert trained.history[-1]["train.loss"] < trained.history[0]["train.loss"] / 2
    assert [row["epoch"] for row in trained.history] == list(range(1, 13))
    assert trained.steps == trained.history[-1]["step"] == 12 * 6
    assert all(torch.equal(before[name], network.state_dict()[name]) for name in before)  # the given model stays


def test_frozen_parameters_stay(toy: ImageStore, network: nn.Module) -> None:
    network[0].requires_grad_(False)
    trained = train(network, toy, plan=PLAN)
    assert torch.equal(trained.weights["0.weight"], network[0].weight)
    assert not torch.equal(trained.weights["5.weight"], network[5].weight)


def test_test_images_are_refused(toy: ImageStore, linear: nn.Module) -> None:
    test_images = ImageStore.of_tensors(toy.images, toy.targets, split="test")
    with pytest.raises(InputError, match="test images"):
        train(linear, test_images, plan=PLAN)
    with pytest.raises(InputError, match="test images"):
        train(linear, toy, plan=PLAN, val=test_images)


def test_rejected_images_are_reported(toy: ImageStore, linear: nn.Module) -> None:
    store = ImageStore(toy.images, toy.targets, toy.ids, toy.weights, rejected={"broken.png": "truncated"})
    assert train(linear, store, plan=PLAN, val=toy).rejected == {"broken.png": "truncated"}


# -- the best epoch ------------------------------------------------------------------------------------------------


def scripted(values: list[float], name: str = "accuracy") -> Callable[[nn.Module, Examples], Mapping[str, float]]:
    remaining = iter(values)
    return lambda _model, _examples: {name: next(remaining)}


def test_the_history_tells_the_mean_loss_of_each_epoch(toy: ImageStore, linear: nn.Module) -> None:
    losses: list[Tensor] = []

    def objective(model: nn.Module, batch: Batch) -> Tensor:
        losses.append(classify(model, batch))
        return losses[-1]

    trained = train(linear, toy, plan=PLAN, objective=objective)
    for row, batches in zip(trained.history, (losses[:6], losses[6:]), strict=True):
        assert row["train.loss"] == pytest.approx(torch.cat(batches).mean().item(), abs=1e-6)


@pytest.mark.parametrize(("highest", "best"), [(True, 2), (False, 4)])
def test_the_best_epoch_on_the_val_split_is_kept(toy: ImageStore, linear: nn.Module, highest: bool, best: int) -> None:
    # Epochs 2 and 3 tie for the highest, 4 and 5 for the lowest: the earlier one is kept.
    plan = PLAN.model_copy(update={"epochs": 5, "select_highest": highest, "schedule": "constant"})
    trained = train(linear, toy, plan=plan, val=toy, evaluate=scripted([0.5, 0.9, 0.9, 0.1, 0.1]))
    assert trained.best_epoch == best
    shorter = train(linear, toy, plan=plan.model_copy(update={"epochs": best}))
    assert same(trained, shorter)


def test_without_a_val_split_the_last_epoch_is_kept(toy: ImageStore, linear: nn.Module) -> None:
    assert train(linear, toy, plan=PLAN).best_epoch == 2


def test_an_unknown_or_broken_figure_is_refused(toy: ImageStore, linear: nn.Module) -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'accuracy'"):
        train(linear, toy, plan=PLAN.model_copy(update={"select": "acuracy"}), val=toy)
    with pytest.raises(ModelError, match=r"epoch 1: the figure val.accuracy is not finite"):
        train(linear, toy, plan=PLAN, val=toy, evaluate=scripted([float("nan")]))


def test_the_val_split_changes_no_weight(toy: ImageStore, toy_val: ImageStore, network: nn.Module) -> None:
    # Judging must happen in evaluation mode, and leave BatchNorm statistics and the mode of training alone.
    modes: set[bool] = set()

    def evaluate(model: nn.Module, examples: Examples) -> Mapping[str, float]:
        modes.update(module.training for module in model.modules())
        return accuracy(model, examples)

    judged = train(network, toy, plan=PLAN, val=toy_val, evaluate=evaluate)
    assert modes == {False}
    # The loss of the second epoch shows what judging the first one did to the weights and to the mode.
    assert judged.history[1]["train.loss"] == train(network, toy, plan=PLAN).history[1]["train.loss"]


# -- randomness ----------------------------------------------------------------------------------------------------


def test_the_same_seed_gives_the_same_bits_whatever_was_drawn_before(toy: ImageStore, network: nn.Module) -> None:
    first = train(network, toy, plan=PLAN, transform=random_flips)
    torch.manual_seed(99)
    before = torch.get_rng_state()
    assert same(first, train(network, toy, plan=PLAN, transform=random_flips))
    assert torch.equal(torch.get_rng_state(), before)  # the caller's generator is left alone


def test_another_seed_gives_other_weights(toy: ImageStore, network: nn.Module) -> None:
    other = PLAN.model_copy(update={"seed": 1})
    assert not same(train(network, toy, plan=PLAN), train(network, toy, plan=other))


@pytest.mark.parametrize("accumulate", [1, 2])
def test_every_batch_draws_anew(toy: ImageStore, linear: nn.Module, accumulate: int) -> None:
    draws: list[float] = []

    def objective(model: nn.Module, batch: Batch) -> Tensor:
        draws.append(torch.rand(1).item())  # torch's own generator, as dropout uses it
        draws.append(torch.rand(1, generator=batch.rng.generator("pairs")).item())
        return classify(model, batch)

    train(linear, toy, plan=PLAN.model_copy(update={"accumulate": accumulate}), objective=objective)
    assert len(set(draws)) == len(draws) == 2 * 12


def test_the_transform_draws_by_example_and_epoch(toy: ImageStore, linear: nn.Module) -> None:
    seen: dict[str, list[float]] = {}

    def transform(images: Tensor, targets: Tensor, rng: Randomness) -> tuple[Tensor, Tensor]:
        for example, value in zip(rng.ids or (), rng.uniform("x", ()).tolist(), strict=True):
            seen.setdefault(example, []).append(value)
        return images, targets

    train(linear, toy, plan=PLAN, transform=transform)
    assert len(seen) == len(toy)
    assert len({value for values in seen.values() for value in values}) == 2 * len(toy)


# -- weights, soft targets, accumulation ---------------------------------------------------------------------------


def test_soft_one_hot_targets_train_like_class_indices(toy: ImageStore, linear: nn.Module) -> None:
    soft = ImageStore.of_tensors(toy.images, torch.eye(2)[toy.targets])
    assert close(train(linear, toy, plan=PLAN, val=toy), train(linear, soft, plan=PLAN, val=soft))


def test_an_example_of_weight_zero_is_as_if_it_were_not_there(toy: ImageStore, network: nn.Module) -> None:
    weights = torch.ones(len(toy))
    weights[::3] = 0
    kept = [position for position in range(len(toy)) if position % 3]
    one_step = PLAN.model_copy(update={"epochs": 3, "batch_size": 64})

    def without_dropout(model: nn.Module, batch: Batch) -> Tensor:
        model[4].eval()  # masks depend on the place in the batch
        return classify(model, batch)

    ignored = train(
        network,
        ImageStore.of_tensors(toy.images, toy.targets, weights=weights),
        plan=one_step,
        objective=without_dropout,
    )
    absent = train(network, subset(toy, kept), plan=one_step, objective=without_dropout)
    assert close(ignored, absent, 1e-5)
    assert not close(absent, train(network, toy, plan=one_step, objective=without_dropout), 1e-5)


def test_a_weight_of_two_is_a_repeated_example(toy: ImageStore, linear: nn.Module) -> None:
    plan = PLAN.model_copy(update={"epochs": 4, "batch_size": 64})
    weights = torch.tensor([2.0, 1.0, 3.0])
    weighted = train(linear, subset(toy, [0, 1, 2], weights), plan=plan)
    assert close(weighted, train(linear, subset(toy, [0, 0, 1, 2, 2, 2]), plan=plan))
    assert close(weighted, train(linear, subset(toy, [0, 1, 2], weights * 10), plan=plan))  # only ratios count


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_two_accumulated_batches_are_one_of_double_size(toy: ImageStore, linear: nn.Module, optimizer: str) -> None:
    # 48 examples in batches of 10: the last step has one batch of 8, and weights differ between batches.
    weights = 0.5 + torch.arange(len(toy)) % 4
    store = ImageStore.of_tensors(toy.images, toy.targets, weights=weights)
    double = PLAN.model_copy(update={"optimizer": optimizer, "batch_size": 20, "clip_norm": 0.5, "learning_rate": 0.01})
    parts = double.model_copy(update={"batch_size": 10, "accumulate": 2})
    first, second = train(linear, store, plan=double), train(linear, store, plan=parts)
    assert close(first, second)
    assert first.history[-1]["train.loss"] == pytest.approx(second.history[-1]["train.loss"], abs=1e-6)


def test_one_step_is_the_optimizers(toy: ImageStore, linear: nn.Module) -> None:
    plan = PLAN.model_copy(update={"epochs": 1, "batch_size": 64, "schedule": "constant", "weight_decay": 0.0})
    trained = train(linear, toy, plan=plan)
    model = copy.deepcopy(linear)
    loss = cross_entropy(model(toy.images.float() / 255), toy.targets).mean()
    loss.backward()
    # The first Nesterov step of momentum m is (1 + m) times the gradient.
    expected = linear[1].weight - 0.05 * 1.9 * model[1].weight.grad
    assert torch.allclose(trained.weights["1.weight"], expected, atol=1e-6)
    assert trained.history[0]["train.loss"] == pytest.approx(loss.item(), abs=1e-6)


def test_clipping_limits_the_step(toy: ImageStore, linear: nn.Module) -> None:
    plan = PLAN.model_copy(
        update={"epochs": 1, "batch_size": 64, "schedule": "constant", "clip_norm": 1e-3, "weight_decay": 0.0}
    )
    trained = train(linear, toy, plan=plan)
    moved = [(trained.weights[name] - value).flatten() for name, value in linear.state_dict().items()]
    assert float(torch.cat(moved).norm()) == pytest.approx(0.05 * 1.9 * 1e-3, rel=1e-3)


def test_the_averaged_weights_are_the_result(toy: ImageStore, network: nn.Module) -> None:
    plain = train(network, toy, plan=PLAN.model_copy(update={"epochs": 1, "batch_size": 64}))
    averaged = train(network, toy, plan=PLAN.model_copy(update={"epochs": 1, "batch_size": 64, "ema_decay": 0.9}))
    decay = 2 / 11  # of the first update
    for name, start in network.state_dict().items():
        if start.is_floating_point():
            expected = decay * start + (1 - decay) * plain.weights[name]
            assert torch.allclose(averaged.weights[name], expected, atol=1e-6), name
    assert int(averaged.weights["1.num_batches_tracked"]) == 1


def test_gradients_of_an_attack_inside_the_objective_do_not_train(toy: ImageStore, linear: nn.Module) -> None:
    def objective(model: nn.Module, batch: Batch) -> Tensor:
        images = batch.images.clone().requires_grad_(True)
        (gradient,) = torch.autograd.grad(cross_entropy(model(images), batch.targets).sum(), images)
        assert gradient.abs().max() > 0
        return classify(model, batch)

    assert same(train(linear, toy, plan=PLAN, objective=objective), train(linear, toy, plan=PLAN))
