"""What an attack climbs: per-image values, larger is further from the labels.

An objective is a function of scores and labels; the criterion's direction turns it round for targeted attacks. Values
are never averaged over the batch, so attacking a batch equals attacking its images one by one.
"""

from __future__ import annotations

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor

from snellen.core.classifier import Classifier
from snellen.core.criterion import margin
from snellen.core.errors import InputError

Objective = Callable[[Tensor, Tensor], Tensor]

#: (candidates (n, 3, h, w), labels, positions in the attacked batch (n,)) → scores (n, k), values (n,).
Evaluation = Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]


def no_objective(scores: Tensor, labels: Tensor) -> Tensor:
    """Zero for every image, where decisions alone guide a search: (n, k), labels → (n,)."""
    return scores.new_zeros(len(scores))


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


def targeted_margin(scores: Tensor, labels: Tensor, targets: Tensor) -> Tensor:
    """Score of the target minus the label's: (n, k), (n,), (n,) → (n,)."""
    return _of(scores, targets) - _of(scores, labels)


def targeted_difference_of_logits_ratio(scores: Tensor, labels: Tensor, targets: Tensor) -> Tensor:
    """Targeted difference of logits ratio (Croce and Hein 2020, section 4): (n, k ≥ 4), (n,), (n,) → (n,).

    −(z_y − z_t) / (z_π1 − (z_π3 + z_π4) / 2), for scores z, their order π, label y and target t: neither a shift nor a
    positive factor of the scores changes it.

    >>> import torch
    >>> scores = torch.tensor([[4.0, 1.0, 2.0, 0.0]])
    >>> targeted_difference_of_logits_ratio(scores, torch.tensor([0]), torch.tensor([1])).item()
    -0.8571428656578064

    Raises:
        InputError: fewer than four classes.
    """
    if scores.shape[1] < 4:
        raise InputError(
            f"the targeted difference of logits ratio divides by a distance to the third- and fourth-largest score and "
            f"needs k >= 4 classes; got k = {scores.shape[1]}. Use targeted_margin"
        )
    ordered = scores.sort(1, descending=True).values
    scale = ordered[:, 0] - 0.5 * (ordered[:, 2] + ordered[:, 3])
    return targeted_margin(scores, labels, targets) / (scale + 1e-12)


def _of(scores: Tensor, classes: Tensor) -> Tensor:
    return scores.gather(1, classes[:, None]).squeeze(1)


def on_scores(classifier: Classifier, objective: Objective) -> Evaluation:
    """Evaluate an objective on the classifier's scores: one query a candidate."""

    def evaluate(candidates: Tensor, labels: Tensor, _positions: Tensor) -> tuple[Tensor, Tensor]:
        scores = classifier(candidates)
        return scores, objective(scores, labels)

    return evaluate
