"""Training of bag heads, and of an instance head on given labels: the rivals of instance-level learning."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from snellen.core.errors import InputError
from snellen.core.progress import Progress
from snellen.metrics.auroc import auroc
from snellen.metrics.bag_pooling import Pooling
from snellen.models.encoders.head_on_encoder import InstanceHead
from snellen.systems.multiple_instance.bag_figures import best_pooling, by_auroc_then_epoch, pooled_figures
from snellen.systems.multiple_instance.bag_head import BagHead, BagScores
from snellen.systems.multiple_instance.bag_instances import BagInstances, check_both_classes
from snellen.systems.multiple_instance.bag_store import BagStore
from snellen.systems.multiple_instance.feature_views import Views
from snellen.training.batches import Batch, Examples
from snellen.training.evaluation import score_examples
from snellen.training.loop import Trained, train
from snellen.training.objectives import cross_entropy
from snellen.training.plan import TrainingPlan

#: Bags that are scored together.
_AT_ONCE = 16


class InTraining(nn.Module):
    """A head, and the epoch that it is in.

    Args:
        head: on bags, or on instances.
    """

    epoch: Tensor

    def __init__(self, head: BagHead | InstanceHead) -> None:
        super().__init__()
        self.head = head
        self.register_buffer("epoch", torch.zeros((), dtype=torch.int64))

    def forward(self, inputs: Tensor) -> Tensor:
        """Scores of instances, (n, 2)."""
        scores: Tensor = self.head(inputs)
        return scores


@dataclass(frozen=True, eq=False)
class OnBags:
    """Losses of bags, as their head has them, (n,).

    Args:
        views: what the head sees of an instance, its ``weak`` view; None: the instance as it is.
    """

    views: Views | None = None

    def __call__(self, model: nn.Module, batch: Batch) -> Tensor:
        """Losses."""
        assert isinstance(model, InTraining)
        assert isinstance(model.head, BagHead)
        model.epoch.fill_(batch.epoch)
        inputs, present = batch.images[..., :-1], batch.images[..., -1] > 0
        if self.views is not None:
            seen = self.views(inputs[present], batch.rng, "weak")
            # A view may be of another length than what it is of.
            inputs = seen.new_zeros(*present.shape, seen.shape[-1]).masked_scatter(present[..., None], seen)
        return model.head.losses(inputs, present, batch.targets)


@dataclass(frozen=True, eq=False)
class OnLabels:
    """Cross-entropy of instances with a label for each, (n,).

    Args:
        labels: 0 or 1, int64 (n,), for all instances of the training.
        views: what the head sees of an instance, its ``weak`` view; None: the instance as it is.
    """

    labels: Tensor
    views: Views | None = None

    def __call__(self, model: nn.Module, batch: Batch) -> Tensor:
        """Losses."""
        assert isinstance(model, InTraining)
        model.epoch.fill_(batch.epoch)
        seen = batch.images if self.views is None else self.views(batch.images, batch.rng, "weak")
        return cross_entropy(model(seen), self.labels.to(batch.targets.device)[batch.targets])


@torch.no_grad()
def score_bags(head: BagHead, bags: BagInstances) -> tuple[Tensor, Tensor]:
    """Probability that each bag is positive, (b,), and what each instance says for it, (n,), both on the CPU."""
    store, instances = BagStore(bags), torch.zeros(len(bags))
    device = next(head.parameters()).device
    positive = []
    for positions in torch.arange(len(store.ids)).split(_AT_ONCE):
        padded, _ = store.read(positions)
        present = padded[..., -1] > 0
        scored: BagScores = head.bags(padded[..., :-1].to(device), present.to(device))
        positive.append(scored.logits.softmax(1)[:, 1].cpu())
        instances[torch.cat([bags.members[bag] for bag in positions.tolist()])] = scored.instances.cpu()[present]
    return torch.cat(positive), instances


@dataclass(frozen=True, eq=False)
class BagHeadFigures:
    """AUROC of the validation bags by a bag head."""

    val: BagInstances | None

    def __call__(self, model: nn.Module, examples: Examples) -> dict[str, float]:
        """``selection`` and ``bag_auroc``."""
        assert isinstance(model, InTraining)
        assert isinstance(model.head, BagHead)
        if self.val is None:
            return {"selection": float(model.epoch)}
        figure = auroc(self.val.labels.numpy(), score_bags(model.head, self.val)[0].numpy())
        return {"selection": by_auroc_then_epoch(figure, self.val.labels, int(model.epoch)), "bag_auroc": figure}


@dataclass(frozen=True, eq=False)
class PooledFigures:
    """AUROC of the validation bags by pooled probabilities of instances."""

    val: BagInstances | None

    def __call__(self, model: nn.Module, examples: Examples) -> dict[str, float]:
        """``selection`` and the figures of each pooling."""
        assert isinstance(model, InTraining)
        if self.val is None:
            return {"selection": float(model.epoch)}
        figures = pooled_figures(score_examples(model, examples, batch_size=4096)[0], self.val)
        return {"selection": by_auroc_then_epoch(figures["bag_auroc"], self.val.labels, int(model.epoch)), **figures}


def learn_bags(
    head: BagHead,
    instances: BagInstances,
    val: BagInstances | None,
    *,
    plan: TrainingPlan,
    views: Views | None = None,
    checkpoint: Path | None = None,
    recipe: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
) -> Trained:
    """Train a bag head; its weights are ``head.…`` in what is given back.

    Args:
        head: initial weights, which stay as they are.
        instances: vectors of the train split.
        val: bags that choose the epoch; None: the last one.
        plan: numbers of the training; a batch is of bags.
        views: of instances, as instance-level learning sees them; None: the instances as they are.
        checkpoint: file to save to, and to go on from if it exists.
        recipe: what else defines this training, as JSON values.
        progress: callback that receives progress updates.

    Raises:
        InputError: bags of one class, of several positive ones, or without labels; test images.
    """
    check_both_classes(instances, val)
    return train(
        InTraining(head),
        BagStore(instances),
        plan=_chosen_by_bags(plan),
        objective=OnBags(views),
        val=BagStore(instances if val is None else val),
        evaluate=BagHeadFigures(val),
        checkpoint=checkpoint,
        recipe=recipe,
        progress=progress,
    )


def learn_labels(
    head: InstanceHead,
    instances: BagInstances,
    labels: Tensor,
    val: BagInstances | None,
    *,
    plan: TrainingPlan,
    views: Views | None = None,
    checkpoint: Path | None = None,
    recipe: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
) -> Trained:
    """Train an instance head on a label for each instance: that of its bag, or, to see what could be reached, its own.

    Args:
        head: initial weights, which stay as they are.
        instances: vectors of the train split.
        labels: 0 or 1 for each instance, int64 (n,).
        val: bags that choose the epoch; None: the last one.
        plan: numbers of the training; a batch is of instances.
        views: as :func:`learn_bags` takes them.
        checkpoint: file to save to, and to go on from if it exists.
        recipe: what else defines this training, as JSON values.
        progress: callback that receives progress updates.

    Raises:
        InputError: bags of one class, of several positive ones, or without labels; test images.
    """
    check_both_classes(instances, val)
    if len(labels) != len(instances):
        raise InputError(f"{len(instances)} instances came with {len(labels)} labels")
    return train(
        InTraining(head),
        instances.store(),
        plan=_chosen_by_bags(plan),
        objective=OnLabels(labels, views),
        val=(instances if val is None else val).store(),
        evaluate=PooledFigures(val),
        checkpoint=checkpoint,
        recipe={**(recipe or {}), "labels": labels.tolist()},
        progress=progress,
    )


def pooling_of(trained: Trained) -> Pooling:
    """The pooling that the validation bags chose together with the epoch; mean where there were none."""
    best = next(row for row in trained.history if row["epoch"] == trained.best_epoch)
    return best_pooling(best, "val.") if "val.bag_auroc.mean" in best else "mean"


def _chosen_by_bags(plan: TrainingPlan) -> TrainingPlan:
    return plan.model_copy(update={"select": "selection", "select_highest": True})
