"""Area under the ROC curve: exact with ties, and its mean over classes or labels. All shares are float64."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from snellen.core.errors import InputError


@dataclass(frozen=True)
class MeanAuroc:
    """Mean area under the ROC curve over the classes or labels that have one.

    Attributes:
        each: area of each class or label; NaN where all examples have it, or none has.
    """

    each: tuple[float, ...]

    @property
    def counted(self) -> int:
        """Over how many classes or labels the mean goes."""
        return len(self._measured)

    @property
    def value(self) -> float:
        """The mean; NaN when no class or label has an area."""
        return float(np.mean(self._measured)) if self._measured else float("nan")

    @property
    def _measured(self) -> list[float]:
        return [area for area in self.each if not np.isnan(area)]


def auroc(labels: ArrayLike, scores: ArrayLike) -> float:
    """Area under the ROC curve of a binary decision.

    The probability that a random positive scores higher than a random negative, ties counted half: the statistic of
    Mann and Whitney (1947) over the number of pairs (Hanley and McNeil 1982). Counted in integers, so that only the
    last division rounds.

    >>> auroc([0, 0, 1, 1], [0.1, 0.4, 0.4, 0.8])
    0.875

    Args:
        labels: (n,) bool or integers 0 and 1.
        scores: (n,), higher for positives; any scale, infinities allowed.

    Returns:
        The area in [0, 1]; NaN when all labels are equal or there are none.

    Raises:
        InputError: wrong shapes, labels other than 0 and 1, or scores that are NaN.
    """
    truth, values = np.asarray(labels), np.asarray(scores, dtype=np.float64)
    if truth.ndim != 1 or truth.shape != values.shape:
        raise InputError(f"labels and scores must both be (n,), got {truth.shape} and {values.shape}")
    return _area(_binary(truth), _without_nan(values))


def macro_auroc(labels: ArrayLike, scores: ArrayLike) -> MeanAuroc:
    """Area of each class against all others, and the mean, as MedMNIST's evaluator takes it for several classes.

    A class that no example has, or all have, has no area. It is left out of the mean, and the result says over how many
    classes that goes (the evaluator of MedMNIST has no figure then).

    >>> areas = macro_auroc([0, 1, 1], [[0.7, 0.2, 0.1], [0.1, 0.8, 0.1], [0.5, 0.1, 0.4]])
    >>> areas.each, areas.value, areas.counted
    ((1.0, 0.5, nan), 0.75, 2)

    Args:
        labels: integers (n,) in 0 … k−1.
        scores: (n, k), one column for each class.

    Raises:
        InputError: wrong shapes, labels out of range, or scores that are NaN.
    """
    truth, values = np.asarray(labels), np.asarray(scores, dtype=np.float64)
    if truth.ndim != 1 or values.ndim != 2 or len(truth) != len(values) or not values.shape[1]:
        raise InputError(f"expected labels (n,) and scores (n, k), got {truth.shape} and {values.shape}")
    classes = values.shape[1]
    if len(truth) and (truth.dtype.kind not in "iu" or truth.min() < 0 or truth.max() >= classes):
        raise InputError(f"labels must be integers from 0 to {classes - 1}; leave unknown ones out")
    return _mean((truth == one for one in range(classes)), _without_nan(values))


def multilabel_auroc(labels: ArrayLike, scores: ArrayLike) -> MeanAuroc:
    """Area of each label, and the mean, as MedMNIST's evaluator takes it for several labels per image.

    A label that no example has, or all have, has no area and is left out of the mean; the result says over how many
    labels that goes.

    >>> multilabel_auroc([[0, 1], [1, 1]], [[0.2, 0.3], [0.9, 0.8]])
    MeanAuroc(each=(1.0, nan))

    Args:
        labels: (n, l) bool or integers 0 and 1.
        scores: (n, l).

    Raises:
        InputError: wrong shapes, labels other than 0 and 1, or scores that are NaN.
    """
    truth, values = np.asarray(labels), np.asarray(scores, dtype=np.float64)
    if truth.ndim != 2 or truth.shape != values.shape or not values.shape[1]:
        raise InputError(f"labels and scores must both be (n, l), got {truth.shape} and {values.shape}")
    return _mean(_binary(truth).T, _without_nan(values))


def placements(values: NDArray[np.float64], others: NDArray[np.float64]) -> NDArray[np.float64]:
    """Share of the others that each value exceeds (n,), equal ones counted half.

    >>> placements(np.array([1.0, 2.0]), np.array([2.0, 0.0])).tolist()
    [0.5, 0.75]

    Args:
        values: (n,).
        others: (m,), in any order, at least one.
    """
    ordered = np.sort(others)
    return (np.searchsorted(ordered, values, "left") + np.searchsorted(ordered, values, "right")) / (2 * len(ordered))


def _mean(positives: Iterable[NDArray[np.bool_]], scores: NDArray[np.float64]) -> MeanAuroc:
    return MeanAuroc(tuple(_area(positive, column) for positive, column in zip(positives, scores.T, strict=True)))


def _area(positive: NDArray[np.bool_], scores: NDArray[np.float64]) -> float:
    distinct, place = np.unique(scores, return_inverse=True)
    above, below = (np.bincount(place[who], minlength=len(distinct)) for who in (positive, ~positive))
    pairs = int(above.sum()) * int(below.sum())
    if not pairs:
        return float("nan")
    # Twice the pairs won: each negative that scores less counts two, each equal one counts one.
    won = above * (2 * np.cumsum(below) - below)
    return int(won.sum()) / (2 * pairs)


def _binary(labels: NDArray[np.generic]) -> NDArray[np.bool_]:
    if labels.size and (labels.dtype.kind not in "biu" or not np.isin(labels, (0, 1)).all()):
        raise InputError(f"labels must be 0 or 1 (or bool), got {labels.dtype} with {np.unique(labels)[:5].tolist()}")
    return labels.astype(np.bool_)


def _without_nan(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    missing = int(np.isnan(scores).sum())
    if missing:
        raise InputError(f"{missing} of {scores.size} scores are NaN and have no rank; leave such examples out")
    return scores
