"""What training minimises: one loss for each example, never averaged, so that weights and accumulation are exact."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from snellen.core.errors import InputError, ModelError
from snellen.training.batches import Batch

#: (model, batch) → losses (n,). The model is in training mode. Attacks in the loop, teachers, noise levels and pairs of
#: views are ordinary code in here; draws come from ``batch.rng``.
Objective = Callable[[nn.Module, Batch], Tensor]


def cross_entropy(scores: Tensor, targets: Tensor, *, label_smoothing: float = 0.0) -> Tensor:
    """Cross-entropy of each example, in nats.

    Args:
        scores: logits (n, k).
        targets: class indices, int64 (n,), or probabilities, float (n, k).
        label_smoothing: share of the target that is spread evenly over the k classes (Szegedy et al. 2016, section 7).

    Returns:
        Losses (n,).

    >>> scores = torch.tensor([[2.0, 0.0]])
    >>> hard = cross_entropy(scores, torch.tensor([0]))
    >>> torch.equal(hard, cross_entropy(scores, torch.tensor([[1.0, 0.0]])))
    True
    """
    if scores.ndim != 2 or len(targets) != len(scores) or targets.ndim > 2:
        raise InputError(
            f"cross_entropy takes scores (n, k) and targets (n,) or (n, k); got {tuple(scores.shape)} and "
            f"{tuple(targets.shape)}"
        )
    if targets.ndim == 2 and (targets.shape != scores.shape or not targets.is_floating_point()):
        raise InputError(
            f"soft targets are probabilities, float {tuple(scores.shape)} like the scores; got {targets.dtype} "
            f"{tuple(targets.shape)}"
        )
    soft = targets.to(scores.dtype) if targets.ndim == 2 else targets
    return F.cross_entropy(scores, soft, reduction="none", label_smoothing=label_smoothing)


def label_cross_entropy(scores: Tensor, targets: Tensor) -> Tensor:
    """Binary cross-entropy of several labels, averaged over the labels of each example, in nats.

    >>> label_cross_entropy(torch.zeros(1, 2), torch.tensor([[0.0, 1.0]]))
    tensor([0.6931])

    Args:
        scores: logits (n, l).
        targets: 0 and 1, or probabilities, (n, l).

    Returns:
        Losses (n,).
    """
    if scores.ndim != 2 or targets.shape != scores.shape:
        raise InputError(
            f"label_cross_entropy takes scores and targets (n, l); got {tuple(scores.shape)} and {tuple(targets.shape)}"
        )
    return F.binary_cross_entropy_with_logits(scores, targets.to(scores.dtype), reduction="none").mean(1)


def on_scores(loss: Callable[[Tensor, Tensor], Tensor]) -> Objective:
    """Make an objective of a loss on scores: (scores, targets) → (n,)."""

    def objective(model: nn.Module, batch: Batch) -> Tensor:
        return loss(model(batch.images), batch.targets)

    return objective


def classify(model: nn.Module, batch: Batch) -> Tensor:
    """Cross-entropy of the model's scores: the default objective."""
    return cross_entropy(model(batch.images), batch.targets)


def check_losses(losses: Tensor, batch: Batch, *, where: str) -> None:
    """Refuse what is not one finite loss for each example of a batch.

    Raises:
        InputError: another shape.
        ModelError: losses that are not finite; the message begins with ``where`` and names the examples.
    """
    count = len(batch.weights)
    if losses.shape != batch.weights.shape:
        raise InputError(
            f"the objective returned {tuple(losses.shape)} for {count} examples; it must return one loss for each, "
            f"({count},): use reduction='none' and do not average"
        )
    finite = torch.isfinite(losses.detach())
    if not bool(finite.all()):
        assert batch.rng.ids is not None
        ids = [batch.rng.ids[position] for position in (~finite).nonzero().flatten().tolist()]
        raise ModelError(
            f"{where}: the loss is not finite for {len(ids)} of {count} examples ({', '.join(ids[:3])}"
            f"{', …' if len(ids) > 3 else ''}); lower learning_rate, set clip_norm, or check these examples"
        )
