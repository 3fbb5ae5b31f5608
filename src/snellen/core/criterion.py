"""What counts as success: an argument of an attack, never a subclass of it.

A criterion is stateless. It sees scores (n, k) and reference labels, and answers per image. For :class:`Targeted` the
labels are the *target* classes; everywhere else they are the classes to move away from. ``direction`` says whether an
objective is to climb (+1, away from the labels) or to descend (−1, towards them).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor


@runtime_checkable
class Criterion(Protocol):
    """What counts as success."""

    @property
    def direction(self) -> int:
        """+1: away from the labels; −1: towards them."""
        ...

    def success(self, scores: Tensor, labels: Tensor) -> Tensor:
        """Decide for each image whether it succeeded: bool (n,)."""
        ...


def margin(scores: Tensor, labels: Tensor) -> Tensor:
    """Score of the labelled class minus the best other score: (n, k), (n,) → (n,). Negative means misclassified.

    >>> margin(torch.tensor([[3.0, 1.0, 2.0]]), torch.tensor([0])).tolist()
    [1.0]
    """
    own = scores.gather(1, labels[:, None]).squeeze(1)
    others = scores.scatter(1, labels[:, None], -torch.inf).amax(1)
    return own - others


@dataclass(frozen=True)
class Misclassified:
    """The arg-max class is not the label.

    >>> Misclassified().success(torch.tensor([[1.0, 2.0], [2.0, 1.0]]), torch.tensor([0, 0])).tolist()
    [True, False]
    """

    direction: int = 1

    def success(self, scores: Tensor, labels: Tensor) -> Tensor:
        """(n, k), (n,) → bool (n,)."""
        return scores.argmax(1) != labels


@dataclass(frozen=True)
class Targeted:
    """The arg-max class is the target (``labels`` are the targets)."""

    direction: int = -1

    def success(self, scores: Tensor, labels: Tensor) -> Tensor:
        """(n, k), (n,) → bool (n,)."""
        return scores.argmax(1) == labels


@dataclass(frozen=True)
class Margin:
    """Misclassified by at least ``confidence`` in score units (κ of Carlini and Wagner 2017, eq. 6)."""

    confidence: float = 0.0
    direction: int = 1

    def success(self, scores: Tensor, labels: Tensor) -> Tensor:
        """(n, k), (n,) → bool (n,)."""
        gap = margin(scores, labels)
        return gap < 0 if self.confidence == 0 else gap <= -self.confidence


@dataclass(frozen=True)
class MultilabelChanged:
    """At least ``flips`` of the k binary decisions differ from the labels: scores are logits, labels 0/1 (n, k)."""

    flips: int = 1
    direction: int = 1

    def success(self, scores: Tensor, labels: Tensor) -> Tensor:
        """(n, k), (n, k) → bool (n,)."""
        return ((scores > 0) != (labels > 0)).sum(1) >= self.flips


#: Class of a pixel that nothing is known about, and that no loss or figure counts.
VOID = -1


@dataclass(frozen=True)
class PixelsMisclassified:
    """At least ``share`` of the pixels are misclassified: scores (n, k, h, w), labels (n, h, w), :data:`VOID` left out.

    >>> scores, labels = torch.eye(2).view(1, 2, 1, 2), torch.tensor([[[0, 0]]])
    >>> [PixelsMisclassified(share).success(scores, labels).item() for share in (0.5, 1)]
    [True, False]
    """

    share: float = 0.5
    direction: int = 1

    def success(self, scores: Tensor, labels: Tensor) -> Tensor:
        """(n, k, h, w), (n, h, w) → bool (n,); never where all pixels are void."""
        return _share_of_pixels(scores.argmax(1) != labels, labels) >= self.share


@dataclass(frozen=True)
class PixelsTargeted:
    """At least ``share`` of the pixels are given their target class: scores (n, k, h, w), targets (n, h, w)."""

    share: float = 1.0
    direction: int = -1

    def success(self, scores: Tensor, labels: Tensor) -> Tensor:
        """(n, k, h, w), (n, h, w) → bool (n,); never where all pixels are void."""
        return _share_of_pixels(scores.argmax(1) == labels, labels) >= self.share


@dataclass(frozen=True)
class ValuesFarOff:
    """The root mean square error of a map of values is at least ``error``: values and truth (n, k, h, w).

    By default no error is large enough, so that a search ends at its last step.

    >>> ValuesFarOff(0.5).success(torch.zeros(1, 1, 1, 2), torch.tensor([[[[0.0, 1.0]]]])).tolist()
    [True]
    """

    error: float = torch.inf
    direction: int = 1

    def success(self, scores: Tensor, labels: Tensor) -> Tensor:
        """(n, k, h, w), (n, k, h, w) → bool (n,)."""
        return (scores - labels).square().flatten(1).mean(1).sqrt() >= self.error


def _share_of_pixels(counted: Tensor, labels: Tensor) -> Tensor:
    """Share of the pixels that are not void, (n, h, w) → (n,); NaN, which is at least nothing, where all are."""
    known = labels != VOID
    return (counted & known).flatten(1).float().sum(1) / known.flatten(1).float().sum(1)
