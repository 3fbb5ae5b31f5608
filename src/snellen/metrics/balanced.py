"""Balanced accuracy from probabilities, by the kind of task."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from snellen.core.errors import InputError, unknown_name
from snellen.metrics.classification import ConfusionCounts

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
