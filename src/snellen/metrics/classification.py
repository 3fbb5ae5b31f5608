"""Which class is taken for which: counts that merge, and accuracy, recall and their averages."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from snellen.core.errors import InputError
from snellen.metrics.intervals import Interval, wilson


@dataclass(frozen=True, eq=False)
class ConfusionCounts:
    """Confusion matrix; adds up over shards.

    >>> counts = ConfusionCounts.of([0, 0, 1, 1], [0, 1, 1, 1], 2)
    >>> counts.table.tolist(), counts.accuracy, counts.recall.tolist()
    ([[1, 1], [0, 2]], 0.75, [0.5, 1.0])

    Attributes:
        table: int64 (k, k), images of the class of the row that were taken for the class of the column.
    """

    table: NDArray[np.int64]

    @classmethod
    def of(cls, labels: ArrayLike, predictions: ArrayLike, classes: int) -> ConfusionCounts:
        """Count predictions.

        Args:
            labels: int (n,) in 0 … classes−1; leave out images whose label is unknown.
            predictions: int (n,) in 0 … classes−1.
            classes: k.

        Raises:
            InputError: wrong shapes or values.
        """
        truth, guess = _classes(labels, classes, "labels"), _classes(predictions, classes, "predictions")
        if truth.shape != guess.shape:
            raise InputError(f"{len(truth)} labels, but {len(guess)} predictions")
        counts = np.bincount(truth * classes + guess, minlength=classes * classes)
        return cls(counts.reshape(classes, classes))

    def __add__(self, other: ConfusionCounts) -> ConfusionCounts:
        if self.table.shape != other.table.shape:
            raise InputError(f"counts of {len(self.table)} and of {len(other.table)} classes cannot be added")
        return ConfusionCounts(self.table + other.table)

    @property
    def n(self) -> int:
        """Images in all."""
        return int(self.table.sum())

    @property
    def support(self) -> NDArray[np.int64]:
        """Images of each class, (k,)."""
        return self.table.sum(1)

    @property
    def correct(self) -> NDArray[np.int64]:
        """Right predictions of each class, (k,)."""
        return self.table.diagonal().copy()

    @property
    def accuracy(self) -> float:
        """Share of right predictions; NaN when nothing was counted."""
        return int(self.correct.sum()) / self.n if self.n else float("nan")

    @property
    def accuracy_interval(self) -> Interval:
        """95 % interval of the accuracy (Wilson)."""
        return wilson(int(self.correct.sum()), self.n)

    @property
    def recall(self) -> NDArray[np.float64]:
        """Share of the images of each class that were recognised, (k,); NaN for classes without images."""
        return _share(self.correct, self.support, np.nan)

    def recall_intervals(self, confidence: float = 0.95) -> list[Interval]:
        """Interval of the recall of each class (Wilson); [0, 1] for classes without images."""
        return [wilson(int(right), int(n), confidence) for right, n in zip(self.correct, self.support, strict=True)]

    @property
    def precision(self) -> NDArray[np.float64]:
        """Share of the predictions of each class that are right, (k,); NaN for classes that were never predicted."""
        return _share(self.correct, self.table.sum(0), np.nan)

    @property
    def f1(self) -> NDArray[np.float64]:
        """Harmonic mean of precision and recall, 2 right / (images + predictions), (k,); NaN for absent classes."""
        return _share(2 * self.correct, self.support + self.table.sum(0), np.nan)

    @property
    def balanced_accuracy(self) -> float:
        """Mean recall over the classes that have images; NaN when nothing was counted."""
        present = self.support > 0
        return float(self.recall[present].mean()) if present.any() else float("nan")

    @property
    def macro_recall(self) -> float:
        """Mean recall over the classes that have images or were predicted; 0 for those without images.

        As scikit-learn's ``average="macro"``. :attr:`balanced_accuracy` leaves classes without images out.
        """
        return self._macro(self.recall)

    @property
    def macro_precision(self) -> float:
        """Mean precision over the classes that have images or were predicted; 0 for those never predicted."""
        return self._macro(self.precision)

    @property
    def macro_f1(self) -> float:
        """Mean F1 over the classes that have images or were predicted."""
        return self._macro(self.f1)

    def _macro(self, values: NDArray[np.float64]) -> float:
        seen = (self.support + self.table.sum(0)) > 0
        return float(np.nan_to_num(values[seen]).mean()) if seen.any() else float("nan")


def _classes(values: ArrayLike, classes: int, what: str) -> NDArray[np.int64]:
    if classes < 1:
        raise InputError(f"at least one class is needed, got {classes}")
    array = np.asarray(values)
    if array.ndim != 1 or (len(array) and array.dtype.kind not in "iu"):
        raise InputError(f"{what} must be integers (n,), got {array.dtype} {array.shape}")
    if len(array) and (array.min() < 0 or array.max() >= classes):
        raise InputError(f"{what} must lie in 0 … {classes - 1}, got {array.min()} to {array.max()}")
    return array.astype(np.int64)


def _share(part: NDArray[np.int64], whole: NDArray[np.int64], empty: float) -> NDArray[np.float64]:
    return np.divide(part, whole, out=np.full(len(whole), empty), where=whole > 0)
