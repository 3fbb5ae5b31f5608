"""Figures of several labels an image, as functions of the images' weights and with intervals over units."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from snellen.checks.check import Measured
from snellen.checks.label_sets import LabelSets
from snellen.core.errors import InputError
from snellen.metrics.auroc_interval import macro_auroc_interval
from snellen.metrics.bootstrap import cluster_bootstrap
from snellen.metrics.clustered import clustered_share
from snellen.metrics.weighted import WeightedStatistic, weighted_auroc

#: Figures over all labels, and of each of them. What is no share of images has a bootstrap interval.
OVERALL = ("macro_auroc", "macro_f1", "micro_f1", "exact_match", "right_decisions")
OF_EACH = (
    "auroc",
    "balanced_accuracy",
    "f1",
    "sensitivity",
    "specificity",
    "positive_predictive_value",
    "prevalence",
)

#: A name of each figure in words.
WORDS: Mapping[str, str] = {
    "macro_auroc": "mean area under the ROC curve over the labels",
    "exact_match": "images with all labels right",
}


def statistic_of(figure: str, sets: LabelSets, place: int | None = None) -> WeightedStatistic | None:
    """A figure as a function of the images' weights; None where the model gives no probabilities for it.

    Args:
        figure: of :data:`OVERALL`, or with ``place`` of :data:`OF_EACH`.
        sets: of n images.
        place: of the label.
    """
    if place is None:
        return _overall(figure, sets)
    if figure == "auroc":
        return _area(sets, place)
    counts = _counts(sets, place)
    return lambda weights: _figure(figure, weights @ counts)


def _area(sets: LabelSets, place: int) -> WeightedStatistic | None:
    if sets.logits is None:
        return None
    known = sets.labels[:, place] >= 0
    area = weighted_auroc(sets.labels[known, place], sets.logits[known, place])
    return lambda weights: area(weights[known])


def _overall(figure: str, sets: LabelSets) -> WeightedStatistic | None:
    labels = range(sets.labels.shape[1])
    if figure in ("exact_match", "right_decisions"):
        values, known = image_values(figure, sets)
        return lambda weights: _ratio(float(weights[known] @ values[known]), float(weights[known].sum()))
    if figure == "macro_auroc":
        areas = [_area(sets, place) for place in labels]
        return _mean_of([one for one in areas if one is not None]) if sets.logits is not None else None
    if figure == "macro_f1":
        return _mean_of([one for place in labels if (one := statistic_of("f1", sets, place)) is not None])
    counts = np.stack([_counts(sets, place) for place in labels]).sum(0)
    return lambda weights: _figure("f1", weights @ counts)


def image_values(figure: str, sets: LabelSets) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """What ``exact_match`` or ``right_decisions`` is the mean of, (n,), and which images have it, (n,)."""
    known, right = sets.labels >= 0, sets.labels == sets.decisions
    if figure == "exact_match":
        return (right | ~known).all(1).astype(np.float64), np.asarray(known.all(1))
    return (right & known).sum(1) / np.maximum(known.sum(1), 1), np.asarray(known.any(1))


def _mean_of(parts: Sequence[WeightedStatistic]) -> WeightedStatistic:
    def statistic(weights: NDArray[np.float64]) -> float:
        found = [value for one in parts if np.isfinite(value := one(weights))]
        return float(np.mean(found)) if found else float("nan")

    return statistic


def _counts(sets: LabelSets, place: int) -> NDArray[np.float64]:
    """Of each image: whether it is a true or false positive, a true or false negative, (n, 4)."""
    label, decided = sets.labels[:, place], sets.decisions[:, place] == 1
    yes, no = label == 1, label == 0
    return np.stack([yes & decided, no & decided, no & ~decided, yes & ~decided], 1).astype(np.float64)


def _figure(figure: str, counts: NDArray[np.float64]) -> float:
    found, false, left, missed = map(float, counts)
    sensitivity, specificity = _ratio(found, found + missed), _ratio(left, left + false)
    return {
        "sensitivity": sensitivity,
        "specificity": specificity,
        "balanced_accuracy": (sensitivity + specificity) / 2,
        "positive_predictive_value": _ratio(found, found + false),
        "f1": _ratio(2 * found, 2 * found + false + missed),
        "prevalence": _ratio(found + missed, found + false + left + missed),
    }[figure]


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole > 0 else float("nan")


def measured(
    figure: str, sets: LabelSets, units: NDArray[np.int64] | None, seed: int, place: int | None = None
) -> Measured | None:
    """A figure with its 95 % interval; None where the images do not have it.

    Shares of images have intervals of clustered shares, areas that of Newcombe, all others a bootstrap of units.
    """
    n = len(sets.labels)
    share = None if place is None else _share(figure, sets, place)
    if place is None and figure == "exact_match":
        values, known = image_values(figure, sets)
        share = values, known
    if share is not None:
        values, of = share
        if not of.any():
            return None
        low, high = clustered_share(values[of] > 0, None if units is None else units[of])
        return Measured(value=float(values[of].mean()), low=low, high=high, n=int(of.sum()))
    statistic = statistic_of(figure, sets, place)
    value = float("nan") if statistic is None else statistic(np.ones(n))
    if statistic is None or not np.isfinite(value):
        return None
    known = sets.judged if place is None else np.asarray(sets.labels[:, place] >= 0)
    try:
        if figure == "auroc" and place is not None and sets.logits is not None:
            scores = np.stack([-sets.logits[known, place], sets.logits[known, place]], 1)
            labels = sets.labels[known, place].astype(np.int64)
            low, high = macro_auroc_interval(labels, scores, None if units is None else units[known])
        else:
            found = cluster_bootstrap(statistic, n, units, rng=np.random.default_rng(seed))
            low, high = found.bca()
    except InputError:
        low, high = 0.0, 1.0  # one unit, or so few with the label that most resamples hold none
    return Measured(value=value, low=min(max(low, 0.0), value), high=max(min(high, 1.0), value), n=int(known.sum()))


def _share(figure: str, sets: LabelSets, place: int) -> tuple[NDArray[np.float64], NDArray[np.bool_]] | None:
    """The 0/1 values that a figure of a label is the mean of, and which images have them; None for other figures."""
    label, decided = sets.labels[:, place], sets.decisions[:, place] == 1
    shares = {
        "sensitivity": (decided, label == 1),
        "specificity": (~decided, label == 0),
        "positive_predictive_value": (label == 1, decided & (label >= 0)),
        "prevalence": (label == 1, label >= 0),
    }
    if figure not in shares:
        return None
    values, of = shares[figure]
    return values.astype(np.float64), of
