"""One decision against a set of right answers: the metric of images that show several classes.

Beyer, Hénaff, Kolesnikov, Zhai and van den Oord, "Are we done with ImageNet?", 2020, arXiv 2006.07159 (ReaL), and
Shankar et al., "Evaluating machine accuracy on ImageNet", ICML 2020: a decision is right if it is one of the classes
that the image shows; images of which none is known are left out.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from snellen.core.errors import InputError
from snellen.metrics.intervals import Interval, wilson


@dataclass(frozen=True)
class SetCounts:
    """Decisions that were among the right ones; adds up over shards.

    >>> counts = SetCounts.of([0, 1, 2], [[1, 1, 0], [1, 0, 0], [0, 0, 0]])
    >>> counts, counts.accuracy
    (SetCounts(right=1, n=2, left_out=1), 0.5)

    Attributes:
        right: images whose decision is in their set.
        n: images with a set that is not empty.
        left_out: images with an empty set.
    """

    right: int = 0
    n: int = 0
    left_out: int = 0

    @classmethod
    def of(cls, decisions: ArrayLike, sets: ArrayLike) -> SetCounts:
        """Count decisions.

        Args:
            decisions: class indices (n,).
            sets: bool or 0 and 1 (n, k), which classes are right.

        Raises:
            InputError: other shapes or values.
        """
        decided, right = np.asarray(decisions), np.asarray(sets)
        if decided.ndim != 1 or right.ndim != 2 or len(decided) != len(right):
            raise InputError(f"expected decisions (n,) and sets (n, k); got {decided.shape} and {right.shape}")
        if not np.isin(right, (0, 1)).all():
            raise InputError("sets hold 0 and 1 only")
        whole = decided.dtype.kind in "iu" or not len(decided)
        if not whole or (len(decided) and not 0 <= decided.min() <= decided.max() < right.shape[1]):
            raise InputError(f"decisions are class indices from 0 to {right.shape[1] - 1}")
        known = right.any(1)
        hit = right[np.arange(len(decided)), decided.astype(np.int64)].astype(bool) & known
        return cls(int(hit.sum()), int(known.sum()), int((~known).sum()))

    def __add__(self, other: SetCounts) -> SetCounts:
        return SetCounts(self.right + other.right, self.n + other.n, self.left_out + other.left_out)

    @property
    def accuracy(self) -> float:
        """Share of decisions that were among the right ones; NaN without an image."""
        return self.right / self.n if self.n else float("nan")

    def interval(self, confidence: float = 0.95) -> Interval:
        """Wilson's interval of the accuracy."""
        return wilson(self.right, self.n, confidence)
