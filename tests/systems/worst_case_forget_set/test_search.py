"""The search: sign, sign steps, exact projection, resets, evaluation mode, ties, no-ops, classes on the same path."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from snellen.core.classifier import Classifier
from snellen.core.errors import InputError, ModelError
from snellen.core.preprocessing import Preprocessing
from snellen.core.randomness import Randomness
from snellen.models.classifiers.trainable import trainable
from snellen.systems.worst_case_forget_set import search as searching
from snellen.systems.worst_case_forget_set.search import (
    PUBLISHED,
    ForgetSearch,
    group_losses,
    largest,
    losses_of,
    project_onto_count,
    search_forget_set,
    spread,
    unlearned,
    upper_step,
)
from snellen.training.loop import train as train_loop
from snellen.training.plan import TrainingPlan
from tests.methods.forgetting.learned import learned

FAST = ForgetSearch(upper_steps=3, epochs=2, rate=1e-3, batch_size=32)
COUNT = 12


def searched(search=FAST, count=COUNT, **options):
    network, store = learned()
    return search_forget_set(network, store, count, search=search, rng=Randomness(0), **options)


def loss_after_unlearning(rows):
    """Mean loss of a set behind the lower level that removes exactly this set."""
    network, store = learned()
    weights = np.isin(np.arange(len(store)), rows).astype(float)
    lowered = unlearned(network, store, weights, replace_epochs(10), Randomness(9))
    return losses_of(lowered, store)[rows].mean()


def replace_epochs(epochs):
    return FAST.model_copy(update={"epochs": epochs})


def bisected(values, count):
    """The published projection, as an oracle."""
    low, high = values.min() - 1, values.max()
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if np.clip(values - middle, 0, 1).sum() > count else (low, middle)
    return np.clip(values - (low + high) / 2, 0, 1)


@pytest.mark.covers("24.1")
def test_the_set_is_easier_to_get_right_after_unlearning_and_reverse_harder():
    worst, easiest = searched(), searched(FAST.model_copy(update={"reverse": True}))
    rows = [torch.randperm(96, generator=torch.Generator().manual_seed(seed))[:COUNT].numpy() for seed in range(5)]
    usual = [loss_after_unlearning(one) for one in rows]
    assert loss_after_unlearning(worst.rows) < min(usual)
    assert loss_after_unlearning(easiest.rows) > max(usual)
    # Every twelfth image has the wrong label: hard to get right unless it is trained on, so easy to unlearn.
    assert not set(worst.rows.tolist()) & set(range(5, 96, 12))
    assert len(set(easiest.rows.tolist()) & set(range(5, 96, 12))) >= 6


@pytest.mark.covers("24.2")
def test_the_lower_level_steps_by_the_sign_alone():
    network, store = learned()
    small = search_step(network, store, factor=1.0)
    assert same(small, search_step(network, store, factor=1024.0)), "the size of gradients counts"
    moved = network.state_dict()["network.4.weight"] - small["network.4.weight"]
    steps = moved / 1e-3
    assert torch.allclose(steps, steps.round(), atol=1e-2), "a weight moves by whole steps"
    assert steps.abs().max() <= 3.01
    other = {"momentum": 0.1, "second_momentum": 0.5, "weight_decay": 0.9}
    assert same(small, search_step(network, store, factor=1.0, **other))


def search_step(network, store, *, factor, **numbers):
    """Three steps of the lower level with losses multiplied by a factor, a power of 2 so that nothing is rounded."""
    plan = TrainingPlan(
        epochs=1, batch_size=32, optimizer="sign", learning_rate=1e-3, schedule="constant", seed=0, **numbers
    )

    def objective(model, batch):
        return factor * nn.functional.cross_entropy(model(batch.images), batch.targets, reduction="none")

    return train_loop(network, store, plan=plan, objective=objective).weights


def same(first, second):
    return all(torch.equal(one, second[name]) for name, one in first.items())


def test_a_search_trains_by_the_sign(monkeypatch):
    plans = []

    def watched(*given, **options):
        plans.append(options["plan"])
        return train_loop(*given, **options)

    monkeypatch.setattr(searching, "train", watched)
    searched()
    assert {(plan.optimizer, plan.learning_rate, plan.schedule) for plan in plans} == {("sign", 1e-3, "constant")}


@pytest.mark.covers("24.3")
@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e4, 1e7])
@pytest.mark.parametrize("count", [1, 7, 299])
def test_the_projection_is_exact(scale, count):
    rng = np.random.default_rng(count)
    values = rng.normal(size=300) * scale
    found = project_onto_count(values, count)
    assert found.dtype == np.float64
    assert found.min() >= 0
    assert found.max() <= 1
    assert found.sum() == pytest.approx(count, abs=1e-6)
    order = np.argsort(values)
    assert (np.diff(found[order]) >= 0).all(), "monotone"
    assert project_onto_count(found, count) == pytest.approx(found, abs=1e-9), "idempotent on feasible points"
    if scale <= 1e4:
        assert found == pytest.approx(bisected(values, count), abs=1e-7)


@pytest.mark.covers("24.3")
def test_the_projection_keeps_what_float32_would_lose():
    values = 1e7 + np.linspace(0, 1, 101)
    found = project_onto_count(values, 50)
    assert found.sum() == pytest.approx(50, abs=1e-6)
    assert len(np.unique(found.round(6))) > 90
    assert project_onto_count(np.array([1.0, 0.0, 0.0]), 1).tolist() == [1, 0, 0]


def test_a_count_out_of_range_and_values_that_are_not_finite_are_refused():
    for count in (0, 4, 5):
        with pytest.raises(InputError, match="at least 1 and at most 3 of 4"):
            project_onto_count(np.zeros(4), count)
    with pytest.raises(InputError, match="finite"):
        project_onto_count(np.array([np.nan, 0.0]), 1)
    with pytest.raises(InputError, match="at most 95 of 96; got 96"):
        searched(count=96)


@pytest.mark.covers("24.4")
def test_every_upper_step_begins_with_the_trained_network(monkeypatch):
    network, _ = learned()
    before, begun = copy.deepcopy(network.state_dict()), []

    def watched(model, *given, **options):
        begun.append(copy.deepcopy(model.state_dict()))
        return train_loop(model, *given, **options)

    monkeypatch.setattr(searching, "train", watched)
    searched()
    assert len(begun) == 3
    assert all(same(before, one) for one in begun)
    assert same(before, network.state_dict())


@pytest.mark.covers("24.5")
def test_losses_come_from_evaluation_mode_and_change_no_statistics():
    network, store = learned()
    noisy = copy.deepcopy(network)
    noisy.network.insert(4, nn.Dropout(0.9))
    noisy.train()
    before = copy.deepcopy(noisy.state_dict())
    first, second = losses_of(noisy, store), losses_of(noisy, store)
    assert np.array_equal(first, second)
    assert first == pytest.approx(losses_of(network, store))
    assert same(before, noisy.state_dict())
    assert first.dtype == np.float64


def test_losses_that_are_not_finite_are_an_error():
    network, store = learned()
    broken = copy.deepcopy(network)
    broken.network[4].weight.data.fill_(float("nan"))
    with pytest.raises(ModelError, match="not finite"):
        losses_of(broken, store)


@pytest.mark.covers("24.6")
def test_a_search_that_does_not_move_is_reported_and_the_default_moves():
    still = searched(PUBLISHED.model_copy(update={"epochs": 1, "upper_steps": 3, "batch_size": 32}))
    assert still.overlap == 1
    assert "100% of the selection stood in the start already" in still.doubt
    default = searched()
    assert default.overlap is None, "a uniform start selects nothing"
    assert default.moved > 0.1
    assert default.doubt is None
    big = PUBLISHED.model_copy(update={"epochs": 1, "upper_steps": 3, "batch_size": 32, "step": 1e4})
    assert searched(big).overlap < 0.9, "the published remedy: a step of 1e4"


@pytest.mark.covers("24.6")
def test_a_step_is_relative_to_the_spread_of_the_losses():
    weights, losses = np.full(8, 0.25), np.array([0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 5.0])
    found = upper_step(weights, losses, 2, ForgetSearch())
    assert upper_step(weights, 1e-4 * losses, 2, ForgetSearch()) == pytest.approx(found)
    assert not np.allclose(upper_step(weights, 1e-4 * losses, 2, ForgetSearch(scale_free=False)), found)
    assert found[0] > found[3]
    assert found[-1] == 0
    assert spread(losses) == pytest.approx(0.2)
    assert spread(np.array([1.0, 1.0, 1.0, 4.0])) == pytest.approx(np.std([1, 1, 1, 4]))
    assert spread(np.ones(3)) == 1


def test_the_upper_step_goes_down_the_explicit_gradient():
    weights, losses = np.array([0.5, 0.5, 0.5, 0.5]), np.array([0.1, 0.2, 0.3, 0.4])
    search = ForgetSearch(step=0.5, scale_free=False, gamma=0.25)
    expected = project_onto_count(weights - 0.5 * (losses + 2 * 0.25 * weights), 2)
    assert upper_step(weights, losses, 2, search) == pytest.approx(expected)
    back = upper_step(weights, losses, 2, search.model_copy(update={"reverse": True}))
    assert np.argsort(back).tolist() == [0, 1, 2, 3]


@pytest.mark.covers("24.7")
def test_the_selection_has_exactly_m_members_and_ties_are_broken_by_position():
    found = searched()
    assert len(found.rows) == len(set(found.rows.tolist())) == COUNT
    assert found.weights.shape == (4, 96)
    assert set(np.unique(found.weights[-1])) == {0.0, 1.0}
    assert found.weights[-1].sum() == COUNT
    assert found.weights[1:-1].sum(1) == pytest.approx([COUNT, COUNT])
    assert largest(np.full(6, 0.5), 3).tolist() == [0, 1, 2]
    assert largest(np.array([0.2, 0.9, 0.2, 0.9]), 3).tolist() == [0, 1, 3]
    again = searched()
    assert np.array_equal(again.weights, found.weights)


@pytest.mark.covers("24.11")
def test_classes_and_images_share_one_path():
    network, store = learned()
    each = searched(groups=np.arange(96))
    assert np.array_equal(each.weights, searched().weights), "an image is a group of one"
    seen = []

    def watched(images, weights):
        seen.append(weights)
        return original(images, weights)

    original = searching.Weighted
    searching.Weighted = watched
    try:
        found = search_forget_set(network, store, 1, search=FAST, rng=Randomness(0), groups=store.targets.numpy())
    finally:
        searching.Weighted = original
    assert found.weights.shape == (4, 2)
    assert len(found.chosen) == 1
    assert set(store.targets[found.rows].tolist()) == set(found.chosen.tolist())
    assert len(found.rows) == int((store.targets == int(found.chosen[0])).sum())
    for number, weights in enumerate(seen):
        expected = 1 - found.weights[number][store.targets.numpy()]
        assert weights.numpy() == pytest.approx(expected, abs=1e-6)


@pytest.mark.covers("24.11")
def test_a_loss_of_a_class_is_a_mean_or_a_sum():
    losses, groups = np.array([1.0, 2.0, 9.0]), np.array([0, 0, 1])
    assert group_losses(losses, groups, "mean").tolist() == [1.5, 9.0]
    assert group_losses(losses, groups, "sum").tolist() == [3.0, 9.0]


def test_images_of_weight_1_are_left_out_of_the_lower_level():
    network, store = learned()
    weights = np.zeros(96)
    weights[:48] = 1.0
    half = replace(store, images=store.images.clone(), targets=store.targets.clone())
    half.targets[:48] = 1 - half.targets[:48]
    kept = unlearned(network, store, weights, FAST, Randomness(0))
    spoilt = unlearned(network, half, weights, FAST, Randomness(0))
    assert same(kept.state_dict(), spoilt.state_dict())


@pytest.mark.covers("24.6")
def test_a_step_of_nothing_is_doubted_from_a_uniform_start_as_well():
    still = searched(FAST.model_copy(update={"step": 1e-12}))
    assert still.moved < 1e-6
    assert "0.0% of the weight of the selection was moved, less than 10%" in still.doubt
    binary = searched(FAST.model_copy(update={"step": 1e-12, "start": "binary"}))
    assert (binary.overlap, binary.moved < 1e-6) == (1, True)


@pytest.mark.covers("24.6")
def test_the_published_numbers_exchange_nothing_whatever_the_losses_are():
    """Ten steps of 0.01 move a weight by 0.1 for each nat of loss: less than 1 up to losses of 10."""
    rng = np.random.default_rng(0)
    start = np.isin(np.arange(300), rng.permutation(300)[:30]).astype(float)
    weights = start
    for _ in range(PUBLISHED.upper_steps):
        weights = upper_step(weights, rng.uniform(0, 4, 300), 30, PUBLISHED)
    assert np.array_equal(largest(weights, 30), np.flatnonzero(start))


def test_a_last_batch_of_one_image_is_left_out():
    """65 of 96 images have a weight: two batches of 32 and one image, which BatchNorm cannot train on."""
    _, store = learned()
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(192, 8), nn.BatchNorm1d(8), nn.Linear(8, 2))
    classifier = Classifier(network, class_names=("a", "b"), preparation=Preprocessing(size=(8, 8)), name="flat")
    search = FAST.model_copy(update={"start": "binary"})
    found = search_forget_set(trainable(classifier), store, 31, search=search, rng=Randomness(0))
    assert len(found.rows) == 31


def test_a_group_without_images_is_refused():
    network, store = learned()
    with pytest.raises(InputError, match="1 of 3 groups have no image"):
        search_forget_set(network, store, 1, search=FAST, rng=Randomness(0), groups=2 * store.targets.numpy())
