"""The three phases from start to end: what is never broken, what is told, who chooses, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from snellen.core.errors import InputError
from snellen.metrics.auroc import auroc
from snellen.systems.multiple_instance.bag_figures import (
    best_pooling,
    best_threshold,
    by_auroc_then_epoch,
    pooled_figures,
)
from snellen.systems.multiple_instance.bag_instances import BagInstances
from snellen.systems.multiple_instance.candidate_labels import candidates_of
from snellen.systems.multiple_instance.feature_views import feature_views
from snellen.systems.multiple_instance.instance_learner import InstanceLearner
from snellen.systems.multiple_instance.instance_training import Learnt, learn_instances, phases
from snellen.systems.multiple_instance.settings import InstanceSettings
from snellen.training.plan import TrainingPlan
from tests.systems.multiple_instance.small_bags import small_bags, small_networks

PLAN = TrainingPlan(
    epochs=9, batch_size=16, optimizer="sgd", learning_rate=0.05, weight_decay=1e-3, schedule="constant"
)
SETTINGS = InstanceSettings(warmup_epochs=2, bags_from=4, queue=50, projection=4)
INSTANCES, TRUTH = small_bags(20)
VAL = replace(small_bags(12, seed=1)[0], split="val")


def learnt(instances: BagInstances = INSTANCES, val: BagInstances | None = VAL, **given: Any) -> Learnt:
    encoder, classifier = small_networks()
    settings = SETTINGS.model_copy(update=given.pop("settings", {}))
    arguments = {"views": feature_views(noise=0.1, hidden=0.1), "settings": settings, "plan": PLAN, **given}
    return learn_instances(instances, val, encoder=encoder, classifier=classifier, **arguments)


def loaded(result: Learnt) -> InstanceLearner:
    one = InstanceLearner(*small_networks(), candidates_of(INSTANCES.instance_labels), SETTINGS)
    one.load_state_dict(dict(result.weights))
    return one.eval()


@pytest.fixture(scope="module")
def result() -> Learnt:
    return learnt()


@pytest.mark.covers("36.1")
def test_negative_bags_stay_negative_and_instances_are_found(result: Learnt) -> None:
    targets = result.weights["targets"]
    assert targets[INSTANCES.instance_labels == 0].unique(dim=0).tolist() == [[1.0, 0.0]]
    assert bool((targets[INSTANCES.instance_labels == 1] != 0.5).any())
    test, truth = small_bags(20, seed=2)
    with torch.no_grad():
        scores = loaded(result)(test.inputs).softmax(1)[:, 1]
    assert auroc(truth.numpy(), scores.numpy()) > 0.9


@pytest.mark.covers("36.8")
def test_losses_are_reported_across_the_switch(result: Learnt) -> None:
    assert [row["epoch"] for row in result.history] == list(range(1, 10))
    assert [row["phase"] for row in result.history] == [0, 1, 1, *[2] * 6]
    assert [row["train.contrast_loss"] > 0 for row in result.history] == [False, *[True] * 8]
    assert [row["train.bag_loss"] > 0 for row in result.history] == [False] * 3 + [True] * 6
    for row in result.history[1:]:
        parts = row["train.classification_loss"] + 0.5 * row["train.contrast_loss"] + row["train.bag_loss"]
        assert row["train.loss"] == pytest.approx(parts, rel=0.05)  # the last batch of an epoch is smaller
    assert {"train.positive_share", "train.bags_with_positive", "train.highest_target"} <= set(result.history[0])
    assert result.history[2]["train.highest_target"] == 0.5
    assert result.history[4]["train.highest_target"] > 0.5


def test_inertia_falls_over_all_epochs_and_targets_follow_it(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[bool, float]] = []
    step = InstanceLearner.step

    def reported(*arguments: Any, warm_up: bool, inertia: float) -> Any:
        seen.append((warm_up, inertia))
        return step(*arguments, warm_up=warm_up, inertia=inertia)

    monkeypatch.setattr(InstanceLearner, "step", reported)
    learnt(plan=PLAN.model_copy(update={"epochs": 6, "batch_size": 200}))
    expected = [(epoch < 3, pytest.approx(0.95 - 0.15 * epoch / 5)) for epoch in range(1, 6)]
    assert seen == expected


def test_networks_that_were_given_stay_as_they_are() -> None:
    networks = small_networks()
    before = [parameter.detach().clone() for one in networks for parameter in one.parameters()]
    learn_instances(
        INSTANCES,
        None,
        encoder=networks[0],
        classifier=networks[1],
        views=feature_views(noise=0.1, hidden=0.1),
        settings=SETTINGS,
        plan=PLAN.model_copy(update={"epochs": 4}),
    )
    for old, new in zip(before, (parameter for one in networks for parameter in one.parameters()), strict=True):
        assert torch.equal(old, new)


@pytest.mark.covers("36.9")
def test_instances_keep_their_numbers_in_every_loader() -> None:
    positive = INSTANCES.instance_labels.nonzero().flatten()
    part, whole = INSTANCES.store(positive), INSTANCES.store()
    for store in (part, whole):
        inputs, numbers = store.read(torch.tensor([0, 7, 31]))
        assert torch.equal(inputs, INSTANCES.inputs[numbers])
        assert [INSTANCES.ids[number] for number in numbers.tolist()] == [store.ids[row] for row in (0, 7, 31)]
    assert part.read(torch.tensor([0]))[1].tolist() == [10]  # the first instance of the second bag


@pytest.mark.covers("36.12")
def test_the_bags_of_the_val_split_choose_epoch_and_pooling(result: Learnt) -> None:
    course = [row for row in result.history if row["phase"] == 2]
    highest = max(row["val.bag_auroc"] for row in course)
    chosen = result.history[result.best_epoch - 1]
    assert chosen["val.bag_auroc"] == highest
    assert result.best_epoch == max(row["epoch"] for row in course if row["val.bag_auroc"] == highest)
    assert result.pooling == best_pooling(chosen, "val.")
    with torch.no_grad():
        again = pooled_figures(loaded(result)(VAL.inputs), VAL)
    assert again["bag_auroc"] == pytest.approx(chosen["val.bag_auroc"])
    with pytest.raises(InputError, match="test images"):
        learnt(val=replace(VAL, split="test"))


@pytest.mark.covers("36.12")
def test_later_epochs_win_among_equals_and_never_against_a_higher_figure() -> None:
    labels = torch.tensor([0, 0, 1, 1, 1])
    assert by_auroc_then_epoch(0.5, labels, 2) > by_auroc_then_epoch(0.5, labels, 1)
    assert by_auroc_then_epoch(0.5 + 1 / 12, labels, 1) > by_auroc_then_epoch(0.5, labels, 10**6)


def test_without_val_bags_the_last_epoch_and_the_mean_are_taken() -> None:
    found = learnt(val=None, plan=PLAN.model_copy(update={"epochs": 4}))
    assert (found.best_epoch, found.pooling) == (4, "mean")


def test_a_training_that_was_stopped_goes_on(tmp_path: Any, monkeypatch: pytest.MonkeyPatch, result: Learnt) -> None:
    class StoppedError(Exception):
        pass

    def stop(*arguments: Any, **named: Any) -> Any:
        if named["warm_up"] is False and int(self_steps[0]) == 20:
            raise StoppedError
        self_steps[0] += 1
        return step(*arguments, **named)

    self_steps, step = [0], InstanceLearner.step
    with monkeypatch.context() as patched:
        patched.setattr(InstanceLearner, "step", stop)
        with pytest.raises(StoppedError):
            learnt(checkpoint=tmp_path / "training.safetensors")
    assert {path.name for path in tmp_path.iterdir()} >= {
        "training-pretraining.safetensors",
        "training-warmup.safetensors",
    }
    again = learnt(checkpoint=tmp_path / "training.safetensors")
    assert again.history == result.history
    for name, tensor in result.weights.items():
        assert torch.equal(again.weights[name], tensor)


def test_one_positive_in_each_positive_bag_can_be_enforced() -> None:
    short = PLAN.model_copy(update={"epochs": 4})
    assert learnt(settings={"at_least_one": True}, plan=short).history[-1]["train.bags_with_positive"] == 1.0


@pytest.mark.covers("36.13")
def test_the_published_loss_of_bags_is_requested_by_parity(result: Learnt) -> None:
    parity = learnt(settings={"parity": True})
    reported = [
        (ours["train.bag_loss"], theirs["train.bag_loss"])
        for ours, theirs in zip(result.history, parity.history, strict=True)
    ]
    assert all(ours == theirs == 0 for ours, theirs in reported[:3])
    # Two softmaxes over eight entries leave a loss between log(1 + 7 / e) and log(e + 7).
    assert all(1.27 < theirs < 2.28 and theirs != ours for ours, theirs in reported[3:])


def test_phases_come_in_order_and_need_epochs() -> None:
    assert [tuple(phase) for phase in phases(SETTINGS, 9)] == [("pretraining", 1), ("warmup", 2), ("main", 6)]
    assert [phase.name for phase in phases(InstanceSettings(pretraining_epochs=0, warmup_epochs=0), 1)] == ["main"]
    with pytest.raises(InputError, match="take 3 of 3 epochs"):
        phases(SETTINGS, 3)


@pytest.mark.parametrize(
    ("labels", "message"), [(0, "are negative; expected"), (1, "are positive; expected"), (-1, "are without label")]
)
def test_bags_of_one_class_are_refused(labels: int, message: str) -> None:
    one_class = replace(INSTANCES, labels=torch.full_like(INSTANCES.labels, labels))
    with pytest.raises(InputError, match=f"20 bags of the train split {message}"):
        learnt(one_class)
    with pytest.raises(InputError, match=f"of the val split {message}"):
        learnt(val=replace(VAL, labels=torch.full_like(VAL.labels, labels)))


def test_a_threshold_lies_between_the_scores_it_parts() -> None:
    scores, labels = torch.tensor([0.9, 0.2, 0.4, 0.3]).double().numpy(), torch.tensor([1, 0, 1, 0]).numpy()
    assert best_threshold(scores, labels) == pytest.approx(0.35)
    assert best_threshold(scores, 1 - labels) == pytest.approx(0.2)
