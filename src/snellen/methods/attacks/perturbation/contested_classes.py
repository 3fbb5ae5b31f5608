"""Which pairs of classes a targeted objective plays against each other."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from snellen.core.classifier import Classifier
from snellen.core.criterion import Criterion
from snellen.core.errors import UnsupportedError
from snellen.methods.attacks.perturbation.objectives import Evaluation


def classes_to_raise(scores: Tensor, labels: Tensor, criterion: Criterion, count: int) -> Tensor:
    """The classes that a targeted objective raises, one after the other: int64 (n, m), m ≤ count.

    Away from the labels, these are the other classes in the order of their clean scores, nearest first; towards the
    labels, the label alone.

    >>> from snellen.core.criterion import Misclassified
    >>> classes_to_raise(torch.tensor([[3.0, 0.0, 1.0, 2.0]]), torch.tensor([0]), Misclassified(), 2).tolist()
    [[3, 2]]

    Args:
        scores: of the clean images (n, k ≥ 2).
        labels: int64 (n,).
        criterion: its direction says whether the labels are to be left or to be reached.
        count: number of classes; at most k − 1 exist.
    """
    if criterion.direction < 0:
        return labels[:, None]
    ordered = _others(scores, labels).argsort(dim=1, descending=True, stable=True)
    return ordered[:, : min(count, scores.shape[1] - 1)]


def classes_to_lower(scores: Tensor, labels: Tensor, criterion: Criterion) -> Tensor:
    """The class that stands in the way: the label itself, or towards the labels the best other class now: int64 (n,).

    >>> from snellen.core.criterion import Targeted
    >>> classes_to_lower(torch.tensor([[3.0, 0.0, 1.0, 2.0]]), torch.tensor([0]), Targeted()).tolist()
    [3]
    """
    return labels if criterion.direction > 0 else _others(scores, labels).argmax(1)


def on_pairs(
    classifier: Classifier, objective: Callable[[Tensor, Tensor, Tensor], Tensor], targets: Tensor, criterion: Criterion
) -> Evaluation:
    """Evaluate a targeted objective for one class to raise of each image of the batch, (n,): one query a candidate."""

    def evaluate(candidates: Tensor, labels: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
        scores = classifier(candidates)
        lowered = classes_to_lower(scores.detach(), labels, criterion)
        # Searches turn values round for a criterion that is met by coming nearer; this objective knows the way itself.
        return scores, criterion.direction * objective(scores, lowered, targets[positions])

    return evaluate


def _others(scores: Tensor, labels: Tensor) -> Tensor:
    return scores.scatter(1, labels[:, None], -torch.inf)


def refuse_without_pairs(classifier: Classifier, attack: str) -> None:
    """Refuse a classifier whose scores are not those of classes that exclude each other.

    Raises:
        UnsupportedError: another task than single or ordinal, or fewer than two classes.
    """
    if classifier.task not in ("single", "ordinal") or len(classifier.class_names) < 2:
        raise UnsupportedError(
            f"{attack} plays classes against each other, which needs one label an image and at least two classes; "
            f"{classifier.name} has the task {classifier.task!r} and {len(classifier.class_names)} classes"
        )
