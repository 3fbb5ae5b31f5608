"""Training of bag heads and on given labels: it learns, validation bags choose, and what has no sense is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from snellen.core.errors import InputError, RunConflictError
from snellen.core.randomness import Randomness
from snellen.metrics.auroc import auroc
from snellen.models.encoders.head_on_encoder import InstanceHead
from snellen.systems.multiple_instance.attention_heads import AttentionHead
from snellen.systems.multiple_instance.bag_head import PooledHead
from snellen.systems.multiple_instance.bag_recipe import part_of
from snellen.systems.multiple_instance.bag_store import BagStore
from snellen.systems.multiple_instance.bag_training import (
    InTraining,
    OnBags,
    learn_bags,
    learn_labels,
    pooling_of,
    score_bags,
)
from snellen.training.batches import Batch
from snellen.training.plan import TrainingPlan
from tests.systems.multiple_instance.small_bags import DIM, small_bags

PLAN = TrainingPlan(epochs=6, batch_size=2, learning_rate=1e-2, schedule="constant")
INSTANCES, TRUTH = small_bags(20)
VAL = replace(small_bags(12, seed=1)[0], split="val")
TEST, TEST_TRUTH = small_bags(20, seed=2)


@pytest.mark.covers("36.12")
def test_a_bag_head_learns_and_val_bags_choose_its_epoch() -> None:
    torch.manual_seed(0)
    head = PooledHead(DIM, 8, "mean")
    before = {name: tensor.clone() for name, tensor in head.state_dict().items()}
    trained = learn_bags(head, INSTANCES, VAL, plan=PLAN)
    assert all(torch.equal(before[name], tensor) for name, tensor in head.state_dict().items())
    figures = [row["val.bag_auroc"] for row in trained.history]
    assert trained.best_epoch == max(epoch for epoch, one in enumerate(figures, 1) if one == max(figures))
    head.load_state_dict(part_of(trained.weights, "head."))
    of_bags, of_instances = score_bags(head, TEST)
    assert auroc(TEST.labels.numpy(), of_bags.numpy()) > 0.9
    assert auroc(TEST_TRUTH.numpy(), of_instances.numpy()) > 0.9


def test_scores_of_bags_and_instances_come_in_their_own_order() -> None:
    torch.manual_seed(0)
    head = AttentionHead(DIM, 8)
    order = torch.randperm(len(TEST), generator=torch.Generator().manual_seed(0))
    mixed = replace(
        TEST, inputs=TEST.inputs[order], of_bag=TEST.of_bag[order], ids=tuple(TEST.ids[row] for row in order.tolist())
    )
    (bags, instances), (mixed_bags, mixed_instances) = score_bags(head, TEST), score_bags(head, mixed)
    torch.testing.assert_close(mixed_bags, bags)
    torch.testing.assert_close(mixed_instances, instances[order])


@pytest.mark.parametrize("pooling", ["mean", "max"])
def test_what_fills_up_a_short_bag_is_no_instance(pooling: str, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    kept = torch.cat([torch.arange(10), torch.arange(10, 13)])
    uneven = replace(
        INSTANCES,
        inputs=INSTANCES.inputs[kept] - 5,  # so that a row of zeros stands out
        of_bag=INSTANCES.of_bag[kept],
        labels=INSTANCES.labels[:2],
        ids=tuple(INSTANCES.ids[row] for row in kept.tolist()),
        bag_ids=INSTANCES.bag_ids[:2],
    )
    model = InTraining(PooledHead(DIM, 8, pooling))
    store = BagStore(uneven)

    def losses(positions: list[int]) -> torch.Tensor:
        images, targets = store.read(torch.tensor(positions))
        ones, rng = torch.ones(len(positions)), Randomness(0).for_examples([store.ids[one] for one in positions])
        return OnBags()(model, Batch(images, targets, ones, torch.tensor(positions), rng, 1))

    torch.testing.assert_close(losses([0, 1]), torch.cat([losses([0]), losses([1])]))
    together = score_bags(model.head, uneven)
    monkeypatch.setattr("snellen.systems.multiple_instance.bag_training._AT_ONCE", 1)
    for found, alone in zip(together, score_bags(model.head, uneven), strict=True):
        torch.testing.assert_close(found, alone)


def test_views_may_be_longer_than_what_they_are_of() -> None:
    """Bags of one and three instances, each a number whose view is a vector: as if the vectors had come."""
    vectors = torch.randn(5, DIM, generator=torch.Generator().manual_seed(0))
    torch.manual_seed(0)
    model = InTraining(PooledHead(DIM, 8, "mean"))
    numbers = torch.tensor([[4.0, 0.0, 0.0], [1.0, 3.0, 2.0]])[..., None]
    present = torch.tensor([[1.0, 0.0, 0.0], [1.0, 1.0, 1.0]])[..., None]

    def losses(objective: OnBags, inputs: torch.Tensor) -> torch.Tensor:
        rng = Randomness(0).for_examples(["a", "b"])
        images = torch.cat([inputs, present], 2)
        return objective(model, Batch(images, torch.tensor([0, 1]), torch.ones(2), torch.arange(2), rng, 1))

    seen = losses(OnBags(lambda rows, rng, name: vectors[rows[:, 0].long()]), numbers)
    torch.testing.assert_close(seen, losses(OnBags(), vectors[numbers[..., 0].long()] * present))


def test_given_labels_are_learnt_and_pooled() -> None:
    torch.manual_seed(0)
    head = InstanceHead(DIM, 8)
    trained = learn_labels(head, INSTANCES, TRUTH, VAL, plan=PLAN.model_copy(update={"batch_size": 16}))
    head.load_state_dict(part_of(trained.weights, "head."))
    with torch.no_grad():
        assert auroc(TEST_TRUTH.numpy(), head(TEST.inputs)[:, 1].numpy()) > 0.9
    best = trained.history[trained.best_epoch - 1]
    assert best[f"val.bag_auroc.{pooling_of(trained)}"] == best["val.bag_auroc"]


def test_a_checkpoint_of_other_labels_is_refused(tmp_path: Path) -> None:
    torch.manual_seed(0)
    head, plan, file = InstanceHead(DIM, 8), PLAN.model_copy(update={"epochs": 1}), tmp_path / "training.safetensors"
    learn_labels(head, INSTANCES, TRUTH, VAL, plan=plan, checkpoint=file)
    with pytest.raises(RunConflictError):
        learn_labels(head, INSTANCES, INSTANCES.instance_labels, VAL, plan=plan, checkpoint=file)


def test_what_is_no_training_is_refused() -> None:
    head = PooledHead(DIM, 8, "max")
    one_class = replace(INSTANCES, labels=torch.zeros_like(INSTANCES.labels))
    with pytest.raises(InputError, match="of the train split are negative"):
        learn_bags(head, one_class, VAL, plan=PLAN)
    with pytest.raises(InputError, match="200 instances came with 3 labels"):
        learn_labels(InstanceHead(DIM, 8), INSTANCES, TRUTH[:3], VAL, plan=PLAN)
