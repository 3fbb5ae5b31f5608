"""Searching for the weight of a penalty: the smallest one that still finds an adversarial image is the one wanted.

Carlini and Wagner, "Towards evaluating the robustness of neural networks", IEEE S&P 2017, section VI-A: the weight c of
the misclassification term is searched by bisection, on its own for every image. How far a decision is from meeting a
criterion, and success with a margin to spare, are f6 and κ of the same paper.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx, once_differentiable

from snellen.core.classifier import Classifier
from snellen.core.criterion import Criterion, Margin, MultilabelChanged, margin
from snellen.core.in_float64 import widest
from snellen.methods.attacks.perturbation.objectives import Evaluation


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


@dataclass(frozen=True, eq=False)
class Weights:
    """The weight of every image and the bounds of its bisection, float64 (n,) each.

    >>> weights = Weights.starting(2, first=0.5, largest=1e10, like=torch.zeros(1))
    >>> weights = weights.after(torch.tensor([True, False]))
    >>> weights.current.tolist()
    [0.25, 5.0]
    >>> weights.after(torch.tensor([False, True])).current.tolist()
    [0.375, 2.75]
    """

    current: Tensor
    lower: Tensor
    upper: Tensor
    largest: float

    @classmethod
    def starting(cls, count: int, *, first: float, largest: float, like: Tensor) -> Weights:
        """The same first weight for ``count`` images, and no bounds yet, on the device of ``like``."""
        current = torch.full((count,), first, dtype=widest(like.device), device=like.device)
        return cls(current, torch.zeros_like(current), torch.full_like(current, largest), largest)

    def after(self, found: Tensor) -> Weights:
        """The next weights: down where the last search found something, bool (n,), up elsewhere.

        Found: the weight becomes the upper bound. Not found: it becomes the lower one. The next weight is their mean,
        or ten times the last one as long as no upper bound is known.
        """
        upper = torch.where(found, torch.minimum(self.upper, self.current), self.upper)
        lower = torch.where(found, self.lower, torch.maximum(self.lower, self.current))
        mean = (lower + upper) / 2
        current = torch.where(found | (upper < self.largest), mean, (self.current * 10).clamp(max=self.largest))
        return replace(self, current=current, lower=lower, upper=upper)

    def at_upper(self) -> Weights:
        """The weights at their upper bounds, the last resort."""
        return replace(self, current=self.upper)

    def __getitem__(self, positions: Tensor) -> Weights:
        """The weights of some images."""
        return replace(self, current=self.current[positions], lower=self.lower[positions], upper=self.upper[positions])

    def put(self, positions: Tensor, part: Weights) -> Weights:
        """These weights with those of some images replaced."""
        spread = {
            name: getattr(self, name).index_copy(0, positions, getattr(part, name))
            for name in ("current", "lower", "upper")
        }
        return replace(self, **spread)


def penalised(
    classifier: Classifier, size: Callable[[Tensor, Tensor], Tensor], weights: Tensor, *, goal: Confident
) -> Evaluation:
    """Evaluate −(size of the change + weight · hinge) with one weight per image, in the criterion's direction.

    Args:
        classifier: the model under attack; one query a candidate.
        size: (candidates (m, 3, h, w), positions (m,)) → penalty (m,) on the change.
        weights: (n,), one for each image of the batch.
        goal: what counts as success, and by which score.
    """

    def evaluate(candidates: Tensor, labels: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
        scores = classifier(candidates)
        missing = hinge(scores, labels, goal.criterion, goal.confidence)
        loss = weights[positions].to(missing.dtype) * missing + size(candidates, positions)
        return scores, -goal.direction * loss

    return evaluate


def squared_length(candidates: Tensor, centre: Tensor) -> Tensor:
    """Squared Euclidean length of candidates − centre, differentiable once in the candidates: (n, ...) twice → (n,).

    >>> squared_length(torch.tensor([[3.0, 4.0]]), torch.zeros(1, 2)).tolist()
    [25.0]
    """
    length: Tensor = _SquaredLength.apply(candidates, centre)
    return length


class _SquaredLength(torch.autograd.Function):
    """The sum of squares of a difference: one new tensor forward and one back, where autograd makes five."""

    @staticmethod
    def forward(ctx: FunctionCtx, candidates: Tensor, centre: Tensor) -> Tensor:
        """(n, ...), (n, ...) → (n,)."""
        change = candidates - centre
        ctx.save_for_backward(change)
        flat = change.flatten(1)
        return torch.linalg.vecdot(flat, flat)

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, gradient: Tensor) -> tuple[Tensor, None]:
        """2 · gradient · change; the centre is a constant."""
        (change,) = ctx.saved_tensors  # type: ignore[attr-defined]
        return change * (2 * gradient).view(-1, *[1] * (change.ndim - 1)), None


def rows(values: Tensor, positions: Tensor) -> Tensor:
    """Rows at sorted positions without repeats; no copy while they are all of them."""
    return values if len(positions) == len(values) else values[positions]
