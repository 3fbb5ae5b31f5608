"""Figures of bags of the validation split: what chooses the epoch and the pooling, and what is watched on the way."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from snellen.metrics.auroc import auroc
from snellen.metrics.bag_pooling import Pooling, pooled
from snellen.systems.multiple_instance.bag_instances import BagInstances
from snellen.systems.multiple_instance.bag_loss import bag_cross_entropy
from snellen.systems.multiple_instance.instance_learner import InstanceLearner
from snellen.systems.multiple_instance.pseudo_labels import target_figures
from snellen.training.batches import Examples
from snellen.training.evaluation import score_examples

#: Ways of pooling among which the validation bags choose.
POOLINGS: tuple[Pooling, ...] = ("mean", "max", "log_sum_exp")


def bag_scores(logits: Tensor, bags: BagInstances, pooling: Pooling) -> NDArray[np.float64]:
    """Probability of each bag, (b,), pooled from those of its instances, of their scores (n, 2)."""
    positive = logits.softmax(1)[:, 1].double().numpy()
    return pooled(positive, bags.of_bag.numpy(), len(bags.labels), pooling=pooling)


def best_threshold(scores: NDArray[np.float64], labels: NDArray[np.int64]) -> float:
    """Score from which on a bag is best called positive: the highest sensitivity plus specificity.

    >>> best_threshold(np.array([0.125, 0.25, 0.5, 0.75]), np.array([0, 0, 1, 1]))
    0.375

    Args:
        scores: of bags, (b,).
        labels: 0 or 1, both among them, (b,).

    Returns:
        The lowest of equals: half-way between two scores, or the lowest score where all are best called positive.
    """
    levels = np.unique(scores)
    cuts = np.concatenate([levels[:1], (levels[1:] + levels[:-1]) / 2])
    called = scores >= cuts[:, None]
    gained = called[:, labels == 1].mean(1) - called[:, labels == 0].mean(1)
    return float(cuts[gained.argmax()])


def pooled_figures(logits: Tensor, bags: BagInstances) -> dict[str, float]:
    """AUROC of bags under each pooling, ``bag_auroc.POOLING``, the highest as ``bag_auroc``, and ``bag_loss``.

    Args:
        logits: of all instances, (n, 2).
        bags: what they are of, with labels of both classes.
    """
    truth = bags.labels.numpy()
    figures = {f"bag_auroc.{how}": auroc(truth, bag_scores(logits, bags, how)) for how in POOLINGS}
    loss = bag_cross_entropy(logits, bags.of_bag, bags.labels).mean()
    return {"bag_auroc": max(figures.values()), **figures, "bag_loss": float(loss)}


def best_pooling(figures: Mapping[str, float], prefix: str = "") -> Pooling:
    """The pooling of the highest AUROC, the first of equals in the order mean, max, log_sum_exp."""
    return max(POOLINGS, key=lambda how: figures[f"{prefix}bag_auroc.{how}"])


def by_auroc_then_epoch(figure: float, labels: Tensor, epoch: int) -> float:
    """A figure that orders epochs by their AUROC, and equals by who comes later.

    AUROC of p positive and q negative bags comes in steps of 1/(2pq); the epoch adds less than one of them.

    Args:
        figure: AUROC of bags.
        labels: of the bags.
        epoch: from 1.
    """
    positive = int((labels == 1).sum())
    step = 1 / (2 * positive * (len(labels) - positive))
    return figure + step * epoch / (epoch + 1)


@dataclass(frozen=True, eq=False)
class InstanceFigures:
    """Evaluation of a learner after each epoch; see :data:`snellen.training.evaluation.Evaluate`.

    Args:
        val: bags that choose; None where there are none, and then the last epoch is chosen.
        trained: bags that are trained on, for what is watched.
        choosing: whether the validation bags choose in this phase; else the next one continues from its last epoch.
    """

    val: BagInstances | None
    trained: BagInstances
    choosing: bool

    def __call__(self, model: nn.Module, examples: Examples) -> dict[str, float]:
        """``selection``, figures of the validation bags, and as ``train_…`` losses and figures of pseudo labels."""
        assert isinstance(model, InstanceLearner)
        epoch, steps = int(model.epoch), float(model.sums[3])
        names = ("classification_loss", "contrast_loss", "bag_loss")
        losses = dict(zip(names, (model.sums[:3] / steps).tolist(), strict=True))
        told = target_figures(model.targets.cpu(), self.trained.of_bag, self.trained.labels)
        watched = {f"train_{name}": value for name, value in (losses | told).items()}
        if self.val is None:
            return {"selection": float(epoch), **watched}
        figures = pooled_figures(score_examples(model, examples, batch_size=4096)[0], self.val)
        selection = by_auroc_then_epoch(figures["bag_auroc"], self.val.labels, epoch) if self.choosing else float(epoch)
        return {"selection": selection, **figures, **watched}
