"""Images whose label is probably wrong: confident learning with its five rules, the worst first."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from snellen.core.errors import InputError, unknown_name
from snellen.metrics.inspection.confident_joint import CLOSE, ConfidentJoint, checked

Rule = Literal["confusion", "confident_joint", "prune_by_class", "prune_by_noise_rate", "both"]
Quality = Literal["self_confidence", "normalized_margin", "confidence_weighted_entropy"]


class LabelPair(NamedTuple):
    """Labels estimated to be given to images of another class."""

    given: int
    suggested: int
    images: int


@dataclass(frozen=True, eq=False)
class LabelErrors:
    """What :func:`label_errors` suspects.

    Attributes:
        n: images judged.
        rule: by which rule.
        quality: by which score.
        suspects: int64 (s,), positions of the images, the most suspicious first.
        given: int64 (s,), their labels.
        suggested: int64 (s,), the label that the model would give instead.
        scores: float64 (s,) in [0, 1], quality of the given label, ascending; see :func:`label_quality`.
        errors_by_label: int64 (k,), estimated wrong labels among the images given each label.
        pairs: estimated swaps, the most frequent first.
    """

    n: int
    rule: Rule
    quality: Quality
    suspects: NDArray[np.int64]
    given: NDArray[np.int64]
    suggested: NDArray[np.int64]
    scores: NDArray[np.float64]
    errors_by_label: NDArray[np.int64]
    pairs: tuple[LabelPair, ...]


def label_quality(
    probabilities: ArrayLike, labels: ArrayLike, *, by: Quality = "self_confidence", adjusted: bool = False
) -> NDArray[np.float64]:
    """How well each label fits its image, (n,) in [0, 1]; low scores are suspicious.

    With p the probabilities of an image and y its label (Kuan and Mueller, "Model-agnostic label quality scoring to
    detect real-world label errors in classification datasets", ICML DataPerf workshop 2022, section 2):

    - ``self_confidence``: p_y.
    - ``normalized_margin``: (p_y − max_{j≠y} p_j + 1) / 2.
    - ``confidence_weighted_entropy``: entropy(p) / (log k · p_y), returned as 1 / (1 + it), which turns the order round
      and stays in [0, 1].

    >>> label_quality([[0.9, 0.1], [0.9, 0.1]], [0, 1]).round(2).tolist()
    [0.9, 0.1]

    Args:
        probabilities: (n, k) in [0, 1], each row with sum 1.
        labels: int (n,) in 0 … k−1.
        by: the score.
        adjusted: take off the mean probability of each class over the images labelled so (the thresholds of the
            confident joint) and scale back to a distribution, so that a class that the model is never sure of is not
            suspected as a whole.

    Raises:
        InputError: wrong shapes or values.
        UnknownNameError: no such score.
    """
    if by not in get_args(Quality):
        raise unknown_name("label quality", by, get_args(Quality))
    sure, given = checked(probabilities, labels)
    if adjusted:
        sure = _adjusted(sure, ConfidentJoint.of(sure, given).thresholds)
    rows = np.arange(len(sure))
    own = sure[rows, given]
    if by == "self_confidence":
        return own
    if by == "normalized_margin":
        return (own - _others(sure, given).max(1) + 1) / 2
    logs = np.log(sure, out=np.zeros_like(sure), where=sure > 0)
    entropy = -(sure * logs).sum(1) / np.log(sure.shape[1])
    # A certain model has no entropy for any label: the order among its labels is that of p_y alone.
    return own / (own + np.maximum(entropy, 1e-12))


def label_errors(
    probabilities: ArrayLike,
    labels: ArrayLike,
    *,
    rule: Rule = "prune_by_noise_rate",
    quality: Quality = "self_confidence",
) -> LabelErrors:
    """Suspect labels by confident learning (Northcutt, Jiang and Chuang, JAIR 70, 2021, section 3.2).

    With p the probabilities of an image, y its label, and E the estimated counts of the confident joint:

    - ``confusion`` (method 1): the model ranks another class first.
    - ``confident_joint`` (method 2): the model is confident of another class.
    - ``prune_by_class`` (method 3): of each label i the Σ_{j≠i} E_ij images with the smallest p_i.
    - ``prune_by_noise_rate`` (method 4): of each label i and other class j the E_ij images with the largest p_j − p_i.
    - ``both`` (method 5): those that 3 and 4 agree on.

    Measured on planted errors (``benchmarks/label_errors.py``), ``prune_by_noise_rate`` has the best F1 on average and
    ``both`` the better precision; ``self_confidence`` ranks best where the model learnt from other, right labels, and
    ``normalized_margin`` where it learnt from labels with the same errors.

    The paper leaves three points open: a label that the model itself ranks first is never suspected; E is rounded down
    to whole images; images that tie at the cut are taken together. So the suspects do not depend on the order of the
    images (their order does, among exact ties in the score: the earlier image first).

    A suspect is a disagreement with the model, not a proven error, and every model that errs has some:
    :func:`snellen.metrics.inspection.error_share.estimated_error_share` estimates whether there are more than it would
    have alone.

    >>> probabilities = [[0.9, 0.1], [0.7, 0.3], [0.2, 0.8], [0.1, 0.9], [0.4, 0.6]]
    >>> found = label_errors(probabilities, [0, 0, 0, 1, 1])
    >>> found.suspects.tolist(), found.suggested.tolist(), found.pairs
    ([2], [1], (LabelPair(given=0, suggested=1, images=1),))

    Args:
        probabilities: (n, k) in [0, 1], each row with sum 1, of a model that was not trained on these images (see
            :mod:`snellen.metrics.inspection.label_opinions`).
        labels: int (n,) in 0 … k−1.
        rule: which images are suspected.
        quality: by which score they are ranked.

    Raises:
        InputError: wrong shapes or values.
        UnknownNameError: no such rule or score.
    """
    if rule not in get_args(Rule):
        raise unknown_name("rule", rule, get_args(Rule))
    sure, given = checked(probabilities, labels)
    scores = label_quality(sure, given, by=quality)
    joint = ConfidentJoint.of(sure, given)
    estimated = joint.estimated_counts
    others = _others(sure, given)
    contradicted = others.max(1) > sure[np.arange(len(sure)), given] + CLOSE
    suspected = np.flatnonzero(contradicted & _RULES[rule](sure, joint, estimated))
    suspects = suspected[np.lexsort((suspected, scores[suspected]))]
    confident = joint.confident[suspects]
    stands = (confident >= 0) & (confident != given[suspects])
    wrong = estimated * (1 - np.eye(len(estimated), dtype=np.int64))
    pairs = [LabelPair(int(i), int(j), int(wrong[i, j])) for i, j in np.argwhere(wrong)]
    return LabelErrors(
        n=len(sure),
        rule=rule,
        quality=quality,
        suspects=suspects,
        given=given[suspects],
        suggested=np.where(stands, confident, others[suspects].argmax(1)),
        scores=scores[suspects],
        errors_by_label=wrong.sum(1),
        pairs=tuple(sorted(pairs, key=lambda pair: (-pair.images, pair.given, pair.suggested))),
    )


def multilabel_label_errors(
    probabilities: ArrayLike, labels: ArrayLike, *, rule: Rule = "prune_by_noise_rate"
) -> tuple[LabelErrors, ...]:
    """Suspect labels where an image has several: each label by itself, as a decision between absent (0) and present.

    >>> probabilities, labels = [[0.9], [0.8], [0.9], [0.1], [0.2]], [[1], [1], [0], [0], [0]]
    >>> [found.suspects.tolist() for found in multilabel_label_errors(probabilities, labels)]
    [[2]]

    Args:
        probabilities: (n, l) in [0, 1].
        labels: (n, l) bool or integers 0 and 1.
        rule: which images are suspected.

    Returns:
        One result for each of the l labels.

    Raises:
        InputError: wrong shapes or values.
        UnknownNameError: no such rule.
    """
    sure, given = np.asarray(probabilities, dtype=np.float64), np.asarray(labels)
    if sure.ndim != 2 or given.shape != sure.shape:
        raise InputError(f"expected probabilities and labels (n, l), got {sure.shape} and {given.shape}")
    if given.dtype.kind not in "biu" or not ((sure >= 0) & (sure <= 1)).all():
        raise InputError("expected probabilities in [0, 1] (a sigmoid) and labels 0 or 1; pass no scores")
    columns = zip(sure.T, given.astype(np.int64).T, strict=True)
    return tuple(label_errors(np.stack([1 - column, column], 1), one, rule=rule) for column, one in columns)


def _confusion(sure: NDArray[np.float64], joint: ConfidentJoint, estimated: NDArray[np.int64]) -> NDArray[np.bool_]:
    return np.ones(len(sure), dtype=np.bool_)


def _confident_joint(
    sure: NDArray[np.float64], joint: ConfidentJoint, estimated: NDArray[np.int64]
) -> NDArray[np.bool_]:
    return (joint.confident >= 0) & (joint.confident != joint.labels)


def _prune_by_class(
    sure: NDArray[np.float64], joint: ConfidentJoint, estimated: NDArray[np.int64]
) -> NDArray[np.bool_]:
    taken = np.zeros(len(sure), dtype=np.bool_)
    for label in range(len(estimated)):
        rows = np.flatnonzero(joint.labels == label)
        count = int(estimated[label].sum() - estimated[label, label])
        taken[rows] = _largest(-sure[rows, label][:, None], np.array([count])).any(1)
    return taken


def _prune_by_noise_rate(
    sure: NDArray[np.float64], joint: ConfidentJoint, estimated: NDArray[np.int64]
) -> NDArray[np.bool_]:
    taken = np.zeros(len(sure), dtype=np.bool_)
    for label in range(len(estimated)):
        rows = np.flatnonzero(joint.labels == label)
        classes = np.flatnonzero((estimated[label] > 0) & (np.arange(len(estimated)) != label))
        margin = sure[np.ix_(rows, classes)] - sure[rows, label][:, None]
        taken[rows] = (_largest(margin, estimated[label, classes]) & (margin > CLOSE)).any(1)
    return taken


def _both(sure: NDArray[np.float64], joint: ConfidentJoint, estimated: NDArray[np.int64]) -> NDArray[np.bool_]:
    return _prune_by_class(sure, joint, estimated) & _prune_by_noise_rate(sure, joint, estimated)


_RULES: dict[str, Callable[[NDArray[np.float64], ConfidentJoint, NDArray[np.int64]], NDArray[np.bool_]]] = {
    "confusion": _confusion,
    "confident_joint": _confident_joint,
    "prune_by_class": _prune_by_class,
    "prune_by_noise_rate": _prune_by_noise_rate,
    "both": _both,
}


def _largest(values: NDArray[np.float64], counts: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Mark the ``counts`` largest values of each column, (n, c), and what ties with the last of them."""
    if not values.size:
        return np.zeros(values.shape, dtype=np.bool_)
    ordered = np.sort(values, axis=0)[::-1]
    last = ordered[np.maximum(counts, 1) - 1, np.arange(values.shape[1])]
    return (values >= last) & (counts > 0)


def _others(sure: NDArray[np.float64], given: NDArray[np.int64]) -> NDArray[np.float64]:
    others = sure.copy()
    others[np.arange(len(sure)), given] = -1
    return others


def _adjusted(sure: NDArray[np.float64], thresholds: NDArray[np.float64]) -> NDArray[np.float64]:
    known = np.isfinite(thresholds)
    highest = thresholds[known].max()
    moved = sure + highest - np.where(known, thresholds, highest)
    return moved / moved.sum(1, keepdims=True)
