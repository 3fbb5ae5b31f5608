"""Which pairs of classes a targeted objective plays against each other."""

from __future__ import annotations

import torch
from torch import Tensor

from snellen.classifier import Classifier
from snellen.criterion import Criterion
from snellen.errors import UnsupportedError


def contested_classes(scores: Tensor, labels: Tensor, criterion: Criterion, count: int) -> tuple[Tensor, Tensor]:
    """The class to lower and the classes to raise, nearest first: (n,) and (n, m), m ≤ count.

    Away from the labels, these are the label and the other classes in the order of their clean scores. Towards the
    labels there is one pair: the best other class of the clean image, and the label.

    >>> from snellen.criterion import Misclassified
    >>> scores = torch.tensor([[3.0, 0.0, 1.0, 2.0]])
    >>> away, targets = contested_classes(scores, torch.tensor([0]), Misclassified(), 2)
    >>> away.tolist(), targets.tolist()
    ([0], [[3, 2]])

    Args:
        scores: of the clean images (n, k ≥ 2).
        labels: int64 (n,).
        criterion: its direction says whether the labels are to be left or to be reached.
        count: number of classes to raise, at most k − 1 of which exist.
    """
    others = scores.scatter(1, labels[:, None], -torch.inf)
    if criterion.direction < 0:
        return others.argmax(1), labels[:, None]
    ordered = others.argsort(dim=1, descending=True, stable=True)
    return labels, ordered[:, : min(count, scores.shape[1] - 1)]


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
