"""What an attack climbs: per-image values, larger is further from the labels.

An objective is a function of scores and labels; the criterion's direction turns it round for targeted attacks. Values
are never averaged over the batch, so attacking a batch equals attacking its images one by one.
"""

from __future__ import annotations

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor

from snellen.classifier import Classifier
from snellen.criterion import margin
from snellen.errors import InputError

Objective = Callable[[Tensor, Tensor], Tensor]

#: (candidates (n, 3, h, w), labels, positions in the attacked batch (n,)) → scores (n, k), values (n,).
Evaluation = Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]


def cross_entropy(scores: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy: (n, k), (n,) → (n,); with 0/1 labels (n, k), the sum of k binary cross-entropies."""
    if labels.ndim == 2:
        return F.binary_cross_entropy_with_logits(scores, labels.to(scores.dtype), reduction="none").sum(1)
    return F.cross_entropy(scores, labels, reduction="none")


def negative_margin(scores: Tensor, labels: Tensor) -> Tensor:
    """Best other score minus the label's: (n, k), (n,) → (n,). Its gradient does not vanish when softmax saturates."""
    return -margin(scores, labels)


def difference_of_logits_ratio(scores: Tensor, labels: Tensor) -> Tensor:
    """Difference of logits ratio (Croce and Hein 2020, eq. 4): (n, k ≥ 3), (n,) → (n,); scale-invariant.

    Raises:
        InputError: fewer than three classes.
    """
    if scores.shape[1] < 3:
        raise InputError(
            f"the difference of logits ratio (Croce and Hein's DLR) divides by the distance to the third-largest score "
            f"and needs k >= 3 classes; got k = {scores.shape[1]}. Use negative_margin or cross_entropy"
        )
    ordered = scores.sort(1, descending=True).values
    return -margin(scores, labels) / (ordered[:, 0] - ordered[:, 2] + 1e-12)


def calls_per_candidate(evaluate: Evaluation) -> int:
    """How often an evaluation sends each candidate through the classifier: its attribute of that name, by default 1."""
    return int(getattr(evaluate, "calls_per_candidate", 1))


def on_scores(classifier: Classifier, objective: Objective) -> Evaluation:
    """Evaluate an objective on the classifier's scores: one query a candidate."""

    def evaluate(candidates: Tensor, labels: Tensor, _positions: Tensor) -> tuple[Tensor, Tensor]:
        scores = classifier(candidates)
        return scores, objective(scores, labels)

    return evaluate
