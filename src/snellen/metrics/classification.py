"""Which class is taken for which: counts that merge, accuracy, recall, classes in order, and the worst confusions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from snellen.core.errors import InputError, unknown_name
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


class ConfusionPair(NamedTuple):
    """One way of being wrong.

    Attributes:
        label: the true class.
        prediction: the class it was taken for.
        times: how many images.
        share: of the label's images, in (0, 1].
    """

    label: int
    prediction: int
    times: int
    share: float


def confusion_pairs(counts: ConfusionCounts, most: int = 10) -> list[ConfusionPair]:
    """The most frequent confusions, by number of images; among equal ones the larger share, then the lower classes.

    >>> confusion_pairs(ConfusionCounts.of([0, 0, 0, 0, 1], [1, 1, 0, 0, 0], 2))
    [ConfusionPair(label=0, prediction=1, times=2, share=0.5), ConfusionPair(label=1, prediction=0, times=1, share=1.0)]

    Args:
        counts: confusion counts of k classes.
        most: at most so many pairs, at least 1.

    Returns:
        Pairs that occurred, the most frequent first; none when every prediction is right.

    Raises:
        InputError: most below 1.
    """
    if most < 1:
        raise InputError(f"at least one pair must be requested, got most={most}")
    wrong = counts.table - np.diag(counts.correct)
    labels, predictions = np.nonzero(wrong)
    times = wrong[labels, predictions]
    share = times / counts.support[labels]
    order = np.lexsort((predictions, labels, -share, -times))[:most]
    return [ConfusionPair(int(labels[one]), int(predictions[one]), int(times[one]), float(share[one])) for one in order]


BalancedTask = Literal["multi-class", "ordinal-regression", "binary-class", "multi-label"]


def balanced_accuracy(
    labels: ArrayLike, scores: ArrayLike, *, task: BalancedTask, threshold: float | ArrayLike = 0.5
) -> float:
    """Mean recall over the classes that occur (Brodersen et al. 2010), as MedMNIST-C measures it for each task.

    Di Salvo, Doerrich and Ledig, "MedMNIST-C", arXiv 2406.17536; its balanced error is one minus this.

    - ``multi-class`` and ``ordinal-regression``: the class of the largest probability is the decision.
    - ``binary-class``: the last column above the threshold is class 1.
    - ``multi-label``: each label is decided by its own threshold; the figure is the mean of the labels' balanced
      accuracies. A label whose truth has one value only counts with the recall of that value.

    >>> balanced_accuracy([0, 0, 0, 1], [0.1, 0.2, 0.9, 0.5], task="binary-class", threshold=0.4)
    0.8333333333333333

    Args:
        labels: integers (n,) in 0 … k−1; 0 and 1 (or bool) (n,) for ``binary-class`` and (n, l) for ``multi-label``.
        scores: probabilities in [0, 1], (n, k); (n,) or (n, 2) for ``binary-class``; (n, l) for ``multi-label``.
        task: the task, as MedMNIST names it.
        threshold: probability in [0, 1] that must be exceeded; for ``multi-label`` one for all labels, or (l,). The
            tasks decided by the largest probability do not use it.

    Returns:
        A share in [0, 1]; NaN when there are no examples.

    Raises:
        InputError: wrong shapes, labels, probabilities or thresholds.
        UnknownNameError: no such task.
    """
    if task not in get_args(BalancedTask):
        raise unknown_name("task", task, get_args(BalancedTask))
    truth, sure = np.asarray(labels), np.asarray(scores, dtype=np.float64)
    # Written so that NaN fails too.
    if not ((sure >= 0) & (sure <= 1)).all():
        raise InputError("scores must lie in [0, 1]; pass probabilities (a softmax or sigmoid), not logits")
    if task == "binary-class":
        return _binary(truth, sure, threshold)
    if task == "multi-label":
        return _multilabel(truth, sure, threshold)
    if truth.ndim != 1 or sure.ndim != 2 or len(truth) != len(sure) or not sure.shape[1]:
        raise InputError(f"{task} needs labels (n,) and scores (n, k), got {truth.shape} and {sure.shape}")
    return ConfusionCounts.of(truth, sure.argmax(1), sure.shape[1]).balanced_accuracy


def _binary(truth: NDArray[np.generic], sure: NDArray[np.float64], threshold: float | ArrayLike) -> float:
    if truth.ndim != 1 or sure.shape not in ((len(truth),), (len(truth), 2)):
        raise InputError(
            f"binary-class needs labels (n,) and scores (n,) or (n, 2), got {truth.shape} and {sure.shape}"
        )
    limit = _thresholds(threshold)
    if limit.ndim:
        raise InputError(f"binary-class has one threshold, got {limit.shape}")
    return _two_classes(truth, (sure if sure.ndim == 1 else sure[:, -1]) > limit)


def _multilabel(truth: NDArray[np.generic], sure: NDArray[np.float64], threshold: float | ArrayLike) -> float:
    if truth.ndim != 2 or truth.shape != sure.shape or not sure.shape[1]:
        raise InputError(f"multi-label needs labels and scores (n, l), got {truth.shape} and {sure.shape}")
    limits = _thresholds(threshold)
    if limits.shape not in ((), sure.shape[1:]):
        raise InputError(f"{sure.shape[1]} labels need one threshold or {sure.shape[1]}, got {limits.shape}")
    decided = sure > limits
    return float(np.mean([_two_classes(truth[:, one], decided[:, one]) for one in range(sure.shape[1])]))


def _two_classes(truth: NDArray[np.generic], decided: NDArray[np.bool_]) -> float:
    known = truth.astype(np.int64) if truth.dtype.kind == "b" else truth
    return ConfusionCounts.of(known, decided.astype(np.int64), 2).balanced_accuracy


def _thresholds(threshold: float | ArrayLike) -> NDArray[np.float64]:
    limits = np.asarray(threshold, dtype=np.float64)
    if not ((limits >= 0) & (limits <= 1)).all():
        raise InputError(f"thresholds are probabilities in [0, 1], got {limits.tolist()}")
    return limits


def mean_absolute_error(counts: ConfusionCounts) -> float:
    """Mean distance between label and prediction, in classes.

    >>> mean_absolute_error(ConfusionCounts.of([0, 1, 2, 2], [0, 2, 0, 2], 3))
    0.75

    Args:
        counts: confusion counts whose classes stand in order, one step apart.

    Returns:
        From 0 to k − 1; NaN when nothing was counted.
    """
    by_distance = _by_distance(counts)
    total = sum(distance * images for distance, images in enumerate(by_distance))
    return total / counts.n if counts.n else float("nan")


def quadratic_weighted_kappa(counts: ConfusionCounts) -> float:
    """Agreement beyond chance with squared distances as weights (Cohen 1968).

    1 − Σ (i − j)² O_ij / Σ (i − j)² E_ij, where O is the table and E what independent labels and predictions of the
    same frequencies would give, row_i column_j / n. Counted in integers, so that only the last steps round.

    >>> quadratic_weighted_kappa(ConfusionCounts.of([0, 1, 2, 2], [0, 2, 1, 2], 3))
    0.6363636363636364

    Args:
        counts: confusion counts whose classes stand in order, one step apart.

    Returns:
        1 for perfect agreement, 0 for chance, below 0 for worse, at least −1; NaN when nothing was counted, or when all
        labels and all predictions are one and the same class.
    """
    observed = sum(distance**2 * images for distance, images in enumerate(_by_distance(counts)))
    rows, columns = ([int(images) for images in counts.table.sum(axis)] for axis in (1, 0))
    # Σ (i − j)² r_i c_j = n Σ i² r_i + n Σ j² c_j − 2 Σ i r_i Σ j c_j: no table of k², and no number that overflows.
    squares = sum(place**2 * (row + column) for place, (row, column) in enumerate(zip(rows, columns, strict=True)))
    first, second = (sum(place * images for place, images in enumerate(side)) for side in (rows, columns))
    by_chance = counts.n * squares - 2 * first * second
    return 1 - counts.n * observed / by_chance if by_chance else float("nan")


def share_within(counts: ConfusionCounts, classes: int = 1) -> float:
    """Share of predictions at most so many classes from the label; with 0, the accuracy.

    >>> share_within(ConfusionCounts.of([0, 1, 2, 2], [0, 2, 0, 2], 3))
    0.75

    Args:
        counts: confusion counts whose classes stand in order, one step apart.
        classes: at least 0.

    Returns:
        A share in [0, 1]; NaN when nothing was counted.

    Raises:
        InputError: a negative number of classes.
    """
    if classes < 0:
        raise InputError(f"the distance is a number of classes, at least 0, got {classes}")
    return sum(_by_distance(counts)[: classes + 1]) / counts.n if counts.n else float("nan")


def _by_distance(counts: ConfusionCounts) -> list[int]:
    classes = np.arange(len(counts.table))
    distance = np.abs(classes[:, None] - classes)
    images = np.zeros(len(classes), dtype=np.int64)
    np.add.at(images, distance, counts.table)
    return [int(number) for number in images]
