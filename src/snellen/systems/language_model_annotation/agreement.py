"""How well the teacher (annotator), the student and baselines agree with the owner, beside each other.

Precision, recall, F1, accuracy and the area under the precision-recall curve on the half of the owner's labels that
chose nothing, each with a bootstrap interval over images. A figure with an empty denominator is missing, with a reason,
and never 0 or 1. Undecided images are no negatives: they are counted apart, and figures are of the decided ones.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from snellen.core.errors import InputError
from snellen.core.randomness import derive_seed
from snellen.metrics.bootstrap import cluster_bootstrap
from snellen.metrics.discrimination import ScoreCounts
from snellen.runs.record import Figure

#: Resamples of an interval.
RESAMPLES = 1000

FIGURES = ("precision", "recall", "f1", "accuracy", "average_precision")


class Agreement(BaseModel):
    """One labeller against the owner.

    Attributes:
        who: teacher, student, or a baseline.
        labels: images of the reporting half.
        positives: of these, by the owner.
        undecided: of these, by the labeller; they count in no figure.
        figures: by name, with intervals.
        missing: why a figure has no value, by name.
        human_labels: labels of the owner that it was trained on or chosen by.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    who: str
    labels: int
    positives: int
    undecided: int
    figures: dict[str, Figure]
    missing: dict[str, str] = {}
    human_labels: int


@dataclass(frozen=True, eq=False)
class Opinion:
    """What a labeller says about images.

    Attributes:
        decided: 1, 0, or None where undecided, by row.
        scores: how sure it is of the concept, by row; None without any.
    """

    decided: Mapping[int, int | None]
    scores: Mapping[int, float] | None = None

    @classmethod
    def of_logits(cls, logits: NDArray[np.float64], rows: Sequence[int]) -> Opinion:
        """In scope where the score of the concept is the larger one, as a classifier of two classes decides."""
        values = {row: float(logits[row]) for row in rows}
        return cls({row: int(value > 0) for row, value in values.items()}, values)

    @classmethod
    def of_scores(cls, scores: NDArray[np.float64], rows: Sequence[int], threshold: float) -> Opinion:
        """In scope from a threshold on."""
        values = {row: float(scores[row]) for row in rows}
        return cls({row: int(value >= threshold) for row, value in values.items()}, values)


def precision_recall_f1(
    truth: NDArray[np.bool_], decided: NDArray[np.bool_], weights: NDArray[np.float64]
) -> tuple[float, float, float]:
    """Precision, recall and F1 = 2 TP / (2 TP + FP + FN) of weighted images; NaN where the denominator is 0.

    >>> precision_recall_f1(np.array([True, False]), np.array([False, False]), np.ones(2))
    (nan, 0.0, 0.0)
    """
    true = float(weights[truth & decided].sum())
    false, lost = float(weights[~truth & decided].sum()), float(weights[truth & ~decided].sum())
    return _ratio(true, true + false), _ratio(true, true + lost), _ratio(2 * true, 2 * true + false + lost)


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else float("nan")


def agreement(who: str, opinion: Opinion, truth: Mapping[int, int], *, human_labels: int, seed: int) -> Agreement:
    """Figures of one labeller.

    Args:
        who: it is.
        opinion: about all images of ``truth``.
        truth: the owner's labels, by row.
        human_labels: that it used.
        seed: of the bootstrap.
    """
    rows = [row for row in truth if opinion.decided.get(row) is not None]
    right = np.array([truth[row] == 1 for row in rows], dtype=bool)
    decided = np.array([opinion.decided[row] == 1 for row in rows], dtype=bool)
    statistics: dict[str, Callable[[NDArray[np.float64]], float]] = {
        name: (lambda weights, at=at: precision_recall_f1(right, decided, weights)[at])  # type: ignore[misc]
        for at, name in enumerate(FIGURES[:3])
    }
    statistics["accuracy"] = lambda weights: _ratio(float(weights[right == decided].sum()), float(weights.sum()))
    if opinion.scores is not None:
        scores = np.array([opinion.scores[row] for row in rows])
        statistics["average_precision"] = lambda weights: _average_precision(right, scores, weights)
    figures, missing = dict[str, Figure](), dict[str, str]()
    for name, statistic in statistics.items():
        figures[name] = _figure(statistic, len(rows), derive_seed(seed, who, name))
        if figures[name].value is None:
            missing[name] = "no image was decided" if not rows else "its denominator is empty"
    return Agreement(
        who=who,
        labels=len(truth),
        positives=sum(truth.values()),
        undecided=len(truth) - len(rows),
        figures=figures,
        missing=missing,
        human_labels=human_labels,
    )


def _average_precision(right: NDArray[np.bool_], scores: NDArray[np.float64], weights: NDArray[np.float64]) -> float:
    times = weights.astype(np.int64)
    return ScoreCounts.of(np.repeat(right, times).astype(int), np.repeat(scores, times)).average_precision


def _figure(statistic: Callable[[NDArray[np.float64]], float], n: int, seed: int) -> Figure:
    value = statistic(np.ones(n)) if n else float("nan")
    if not np.isfinite(value):
        return Figure(value=None, low=None, high=None, n=n)
    try:
        found = cluster_bootstrap(statistic, n, resamples=RESAMPLES, rng=np.random.default_rng(seed)).percentile()
    except InputError:  # one image, or a figure that most resamples do not have
        return Figure(value=round(value, 6), low=None, high=None, n=n)
    return Figure(value=round(value, 6), low=round(found.low, 6), high=round(found.high, 6), n=n)


def best_threshold(
    scores: Mapping[int, float] | NDArray[np.float64], truth: Mapping[int, int], *, middle: float = 0.5
) -> float:
    """The threshold of the largest F1 on some labels, midway between two scores and not rounded.

    >>> best_threshold({0: 0.75, 1: 0.5, 2: 0.25}, {0: 1, 1: 1, 2: 0})
    0.375

    Args:
        scores: by row: logits, where probabilities could saturate.
        truth: the owner's labels, by row.
        middle: the threshold without labels of both classes, and the nearest of equally good ones to it: ½ of
            probabilities, 0 of logits.
    """
    if len(set(truth.values())) < 2:
        return middle
    rows = sorted(truth)
    values, right = np.array([float(scores[row]) for row in rows]), np.array([truth[row] == 1 for row in rows])
    ordered = np.unique(values)
    # Below the least score by more than the rounding of a network in 32 bits.
    steps = [float(ordered[0] - 1e-6 * max(1.0, abs(ordered[0]))), *((ordered[1:] + ordered[:-1]) / 2).tolist()]
    reached = [precision_recall_f1(right, values >= step, np.ones(len(rows)))[2] for step in steps]
    # Of equally good ones the nearest to the middle: few labels should move it as little as possible.
    best = max(reached)
    equal = [step for step, own in zip(steps, reached, strict=True) if own == best]
    return equal[int(np.abs(np.array(equal) - middle).argmin())]
