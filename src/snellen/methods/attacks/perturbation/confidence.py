"""How far a decision is from meeting a criterion, and success with a margin to spare."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from snellen.core.criterion import Criterion, Margin, MultilabelChanged, margin


def gap(scores: Tensor, labels: Tensor, criterion: Criterion) -> Tensor:
    """Score that is still missing for success: (n, k), labels → (n,); negative once the criterion is met.

    The margin of the label (Carlini and Wagner 2017, f6) where the criterion is to leave it; minus the margin of the
    target where it is to reach one. For multilabel decisions, the flip-th smallest of the k signed scores: as many
    decisions are wrong as have to be exactly where it is negative.

    >>> import torch
    >>> from snellen.core.criterion import Misclassified, Targeted
    >>> scores, labels = torch.tensor([[3.0, 1.0, 2.0]]), torch.tensor([1])
    >>> float(gap(scores, labels, Misclassified())), float(gap(scores, labels, Targeted()))
    (-2.0, 2.0)
    >>> float(gap(scores, torch.tensor([[1, 0, 1]]), MultilabelChanged()))
    -1.0
    """
    if labels.ndim == 2:
        signed = scores * (2 * labels.to(scores.dtype) - 1)
        flips = criterion.flips if isinstance(criterion, MultilabelChanged) else 1
        return criterion.direction * signed.kthvalue(flips, dim=1).values
    return criterion.direction * margin(scores, labels)


def hinge(scores: Tensor, labels: Tensor, criterion: Criterion, confidence: float) -> Tensor:
    """max(gap, −confidence): (n, k), labels → (n,); Carlini and Wagner 2017, section V-A. Flat once reached."""
    return gap(scores, labels, criterion).clamp(min=-confidence)


@dataclass(frozen=True)
class Confident:
    """A criterion met by at least ``confidence`` in score units (κ of Carlini and Wagner 2017).

    >>> import torch
    >>> from snellen.core.criterion import Misclassified
    >>> scores, labels = torch.tensor([[1.0, 2.0], [1.0, 4.0]]), torch.tensor([0, 0])
    >>> Confident(Misclassified(), 2.0).success(scores, labels).tolist()
    [False, True]
    """

    criterion: Criterion
    confidence: float = 0.0

    @classmethod
    def at_least(cls, criterion: Criterion, confidence: float) -> Confident:
        """With the larger of this confidence and that of a :class:`~snellen.core.criterion.Margin` criterion."""
        return cls(criterion, max(confidence, criterion.confidence) if isinstance(criterion, Margin) else confidence)

    @property
    def direction(self) -> int:
        """That of the criterion."""
        return self.criterion.direction

    def success(self, scores: Tensor, labels: Tensor) -> Tensor:
        """(n, k), labels → bool (n,)."""
        met = self.criterion.success(scores, labels)
        return met & (gap(scores, labels, self.criterion) <= -self.confidence) if self.confidence else met
