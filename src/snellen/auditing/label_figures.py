"""Figures of several labels an image, as functions of the images' weights and with intervals over units."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from snellen.checks.check import CheckFigure
from snellen.checks.label_sets import LabelSets
from snellen.core.errors import InputError
from snellen.metrics.auroc_interval import macro_auroc_interval
from snellen.metrics.bootstrap import cluster_bootstrap
from snellen.metrics.clustered import clustered_mean, clustered_share
from snellen.metrics.stratified import stratified_interval
from snellen.metrics.weighted import WeightedStatistic, weighted_auroc

#: Figures over all labels, and of each of them.
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
) -> CheckFigure | None:
    """A figure with its 95 % interval; None where the images do not have it.

    Shares of images have intervals of clustered shares, and so has F1 = 2J/(1 + J): J is the share of the images that
    have the label or are given it which both have it and are given it. Areas have Newcombe's interval, a balanced
    accuracy that of a mean over strata, right decisions that of a mean over units with a unit more on either side. None
    of them shrinks to a point where all images are right. Means over labels have BCa intervals, and at least those of
    as many independent labels (Zou and Donner, Statistics in Medicine 27, 2008, 1693-1702).
    """
    statistic = statistic_of(figure, sets, place)
    value = float("nan") if statistic is None else statistic(np.ones(len(sets.labels)))
    if statistic is None or not np.isfinite(value):
        return None
    known = sets.judged if place is None else np.asarray(sets.labels[:, place] >= 0)
    count = int(known.sum())
    if place is None and figure == "exact_match":
        values, known = image_values(figure, sets)
        low, high = clustered_share(values[known] > 0, None if units is None else units[known])
        count = int(known.sum())
    elif place is not None and (share := _share(figure, sets, place)) is not None:
        values, of = share
        low, high = clustered_share(values[of] > 0, None if units is None else units[of])
        count = int(of.sum())
    elif figure in ("f1", "micro_f1"):
        low, high = _f1_interval(sets, units, range(sets.labels.shape[1]) if place is None else [place])
    elif figure == "right_decisions":
        values, _ = image_values(figure, sets)
        found = clustered_mean(values[known], None if units is None else units[known], pseudo_units=1.0)
        half = found.interval().high - found.value
        low, high = value - half, value + half
    elif place is None:
        low, high = _interval_of_mean(figure, statistic, sets, units, seed)
    elif figure == "auroc":
        assert sets.logits is not None
        scores = np.stack([-sets.logits[known, place], sets.logits[known, place]], 1)
        labels = sets.labels[known, place].astype(np.int64)
        try:
            low, high = macro_auroc_interval(labels, scores, None if units is None else units[known])
        except InputError:
            low, high = 0.0, 1.0  # one unit
    else:
        right = sets.labels[known, place] == sets.decisions[known, place]
        strata = sets.labels[known, place].astype(np.int64)
        _, low, high = stratified_interval(right.astype(np.float64), strata, None if units is None else units[known])
    return CheckFigure(value=value, low=min(max(low, 0.0), value), high=max(min(high, 1.0), value), n=count)


def _f1_interval(sets: LabelSets, units: NDArray[np.int64] | None, places: Sequence[int]) -> tuple[float, float]:
    """Of the decisions about these labels, as an increasing function of a share."""
    codes = np.arange(len(sets.labels)) if units is None else units
    both, held = [], []
    for place in places:
        has, given = sets.labels[:, place] == 1, (sets.decisions[:, place] == 1) & (sets.labels[:, place] >= 0)
        either = has | given
        both.append((has & given)[either])
        held.append(codes[either])
    share = clustered_share(np.concatenate(both), np.concatenate(held))
    return 2 * share.low / (1 + share.low), 2 * share.high / (1 + share.high)


def _interval_of_mean(
    figure: str, statistic: WeightedStatistic, sets: LabelSets, units: NDArray[np.int64] | None, seed: int
) -> tuple[float, float]:
    """Of a mean over labels: resamples know how labels depend on each other, and each label's interval its own end."""
    of_each = figure.removeprefix("macro_")
    each = [measured(of_each, sets, units, seed, place) for place in range(sets.labels.shape[1])]
    parts = [one for one in each if one is not None]
    value = float(np.mean([one.value for one in parts]))
    low, high = (
        value + side * float(np.linalg.norm([end(one) - one.value for one in parts])) / len(parts)
        for side, end in ((-1, lambda one: one.low), (1, lambda one: one.high))
    )
    try:
        found = cluster_bootstrap(statistic, len(sets.labels), units, rng=np.random.default_rng(seed)).bca()
    except InputError:
        return 0.0, 1.0  # one unit, or so few with a label that most resamples hold none
    return min(low, found.low), max(high, found.high)


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
