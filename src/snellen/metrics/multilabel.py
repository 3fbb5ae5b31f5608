"""Several labels for an image: decisions of each label, and one decision against a set of right answers.

Beyer, Hénaff, Kolesnikov, Zhai and van den Oord, "Are we done with ImageNet?", 2020, arXiv 2006.07159 (ReaL), and
Shankar et al., "Evaluating machine accuracy on ImageNet", ICML 2020: a decision is right if it is one of the classes
that the image shows; images without a known class are left out.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from snellen.core.errors import InputError
from snellen.metrics.intervals import Interval, wilson
from snellen.metrics.operating_point import OperatingPoint


@dataclass(frozen=True, eq=False)
class MultilabelCounts:
    """Decisions on l labels; adds up over shards, in whole numbers, so that no order can change a bit.

    >>> counts = MultilabelCounts.of([[1, 0], [1, 1], [0, 0]], [[1, 0], [0, 1], [0, 1]])
    >>> counts.sensitivity.tolist(), counts.precision.tolist(), round(counts.macro_f1, 4)
    ([0.5, 1.0], [1.0, 0.5], 0.6667)
    >>> round(counts.hamming_accuracy, 4), round(counts.exact_match, 4)
    (0.6667, 0.3333)

    Attributes:
        true_positives: int64 (l,), images that have the label and were given it.
        false_positives: int64 (l,), images without it that were given it.
        true_negatives: int64 (l,), images without it that were not given it.
        false_negatives: int64 (l,), images that have it and were not given it.
        exact: images whose labels are all right.
    """

    true_positives: NDArray[np.int64]
    false_positives: NDArray[np.int64]
    true_negatives: NDArray[np.int64]
    false_negatives: NDArray[np.int64]
    exact: int

    @classmethod
    def of(cls, labels: ArrayLike, decisions: ArrayLike) -> MultilabelCounts:
        """Count decisions.

        Args:
            labels: (n, l) bool or integers 0 and 1.
            decisions: (n, l) bool or integers 0 and 1.

        Raises:
            InputError: wrong shapes or values.
        """
        truth, given = _binary(labels, "labels"), _binary(decisions, "decisions")
        if truth.shape != given.shape:
            raise InputError(f"labels are {truth.shape}, but decisions {given.shape}; one decision for each is needed")
        return cls(
            (truth & given).sum(0, dtype=np.int64),
            (~truth & given).sum(0, dtype=np.int64),
            (~truth & ~given).sum(0, dtype=np.int64),
            (truth & ~given).sum(0, dtype=np.int64),
            int((truth == given).all(1).sum()),
        )

    def __add__(self, other: MultilabelCounts) -> MultilabelCounts:
        if len(self.true_positives) != len(other.true_positives):
            raise InputError(
                f"counts of {len(self.true_positives)} and of {len(other.true_positives)} labels cannot be added"
            )
        return MultilabelCounts(
            self.true_positives + other.true_positives,
            self.false_positives + other.false_positives,
            self.true_negatives + other.true_negatives,
            self.false_negatives + other.false_negatives,
            self.exact + other.exact,
        )

    @property
    def n(self) -> int:
        """Images in all."""
        return int(self.support[0] + self.true_negatives[0] + self.false_positives[0])

    @property
    def support(self) -> NDArray[np.int64]:
        """Images that have each label, (l,)."""
        return self.true_positives + self.false_negatives

    @property
    def sensitivity(self) -> NDArray[np.float64]:
        """Share of the images with a label that were given it, (l,); NaN for labels that no image has."""
        return _share(self.true_positives, self.support)

    @property
    def specificity(self) -> NDArray[np.float64]:
        """Share of the images without a label that were not given it, (l,); NaN for labels that all images have."""
        return _share(self.true_negatives, self.true_negatives + self.false_positives)

    @property
    def precision(self) -> NDArray[np.float64]:
        """Share of the images given a label that have it, (l,); NaN for labels that were never given."""
        return _share(self.true_positives, self.true_positives + self.false_positives)

    @property
    def f1(self) -> NDArray[np.float64]:
        """Harmonic mean of precision and sensitivity, (l,); NaN for labels that no image has and none was given."""
        return _share(2 * self.true_positives, 2 * self.true_positives + self.false_positives + self.false_negatives)

    @property
    def balanced_accuracy(self) -> NDArray[np.float64]:
        """Mean of sensitivity and specificity, (l,); the one that exists where all images are alike.

        Its mean over labels is :func:`snellen.metrics.classification.balanced_accuracy` for the task ``multi-label``.
        """
        both = np.stack((self.sensitivity, self.specificity))
        known = ~np.isnan(both)
        total = np.where(known, both, 0.0).sum(0)
        return np.divide(total, known.sum(0), out=np.full(len(total), np.nan), where=known.any(0))

    @property
    def macro_f1(self) -> float:
        """Mean F1 over the labels that some image has or was given; NaN when there are none.

        As scikit-learn with ``average="macro", zero_division=nan``; its default counts the other labels as 0.
        """
        known = self.f1[~np.isnan(self.f1)]
        return float(known.mean()) if len(known) else float("nan")

    @property
    def micro_f1(self) -> float:
        """F1 of all decisions together; NaN when no image has a label and none was given."""
        right = 2 * int(self.true_positives.sum())
        total = right + int(self.false_positives.sum()) + int(self.false_negatives.sum())
        return right / total if total else float("nan")

    @property
    def hamming_accuracy(self) -> float:
        """Share of right decisions over all images and labels; NaN when nothing was counted."""
        right = int(self.true_positives.sum()) + int(self.true_negatives.sum())
        return right / (self.n * len(self.support)) if self.n else float("nan")

    @property
    def exact_match(self) -> float:
        """Share of images whose labels are all right; NaN when nothing was counted."""
        return self.exact / self.n if self.n else float("nan")

    @property
    def exact_match_interval(self) -> Interval:
        """95 % interval of the exact match (Wilson)."""
        return wilson(self.exact, self.n)

    def operating_point(self, label: int) -> OperatingPoint:
        """Counts of one label, with intervals and predictive values.

        Args:
            label: 0 … l − 1.

        Raises:
            InputError: no such label.
        """
        if not 0 <= label < len(self.support):
            raise InputError(f"label {label} is not one of 0 … {len(self.support) - 1}")
        return OperatingPoint(
            true_positives=int(self.true_positives[label]),
            false_positives=int(self.false_positives[label]),
            true_negatives=int(self.true_negatives[label]),
            false_negatives=int(self.false_negatives[label]),
        )


def _binary(values: ArrayLike, what: str) -> NDArray[np.bool_]:
    array = np.asarray(values)
    if array.ndim != 2 or not array.shape[1]:
        raise InputError(f"{what} must be (n, l) with at least one label, got {array.shape}")
    if array.size and (array.dtype.kind not in "biu" or not ((array == 0) | (array == 1)).all()):
        raise InputError(f"{what} must be 0 or 1 (or bool), got {array.dtype}; decide probabilities by a threshold")
    return array.astype(np.bool_)


def _share(part: NDArray[np.int64], whole: NDArray[np.int64]) -> NDArray[np.float64]:
    return np.divide(part, whole, out=np.full(len(whole), np.nan), where=whole > 0)


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
