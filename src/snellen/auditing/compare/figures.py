"""The figures that two runs share, each as what it is computed from."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from snellen.auditing.compare.bag_differences import BAGS, BagPair, compare_bag_figure
from snellen.auditing.compare.better_side import TRADED, direction
from snellen.auditing.compare.difference import (
    Difference,
    Estimate,
    FromInterval,
    Mean,
    OfWeights,
    Stratified,
    Units,
    difference_of,
    unpaired_difference,
)
from snellen.auditing.compare.listed_differences import listed_difference
from snellen.auditing.compare.pairing import Pair, Side, absence, differing_parameters, same_labels, same_set
from snellen.auditing.compare.run_record import RunRecord
from snellen.auditing.compare.segment_differences import CHECK, overlap_difference, segmenters
from snellen.checks.check import CheckFigure
from snellen.checks.independent import in_first_half
from snellen.checks.per_image import ABSENT, RIGHT, PerImage
from snellen.core import index
from snellen.methods.corruptions.benchmarks import IMAGENET_C, benchmark
from snellen.metrics.calibration import adaptive_calibration_error
from snellen.metrics.selective import RiskCoverage
from snellen.metrics.sweep import setting_name
from snellen.metrics.temperature import fit_temperature, tempered_probabilities
from snellen.metrics.weighted import WeightedStatistic, weighted_calibration_error, weighted_macro_auroc


def tempered_confidence(record: RunRecord, images: PerImage) -> NDArray[np.float64] | None:
    """Probability of each decision (n,) with a temperature of other images; None without scores, or those images.

    As the check does it: the validation images where the run had some, else the other half of the images, in turn. The
    temperature is then taken as given.

    Args:
        record: the run.
        images: labelled images of it, (n,).
    """
    if images.scores is None:
        return None
    if "val" in record.plan.get("companions", {}):
        val = record.val
        if val is None or val.scores is None:
            return None
        if val.labelled.any():
            rows = val.labelled
            fitted = fit_temperature(val.scores[rows], val.labels[rows]).temperature
            return images.confidence_by(tempered_probabilities(images.scores, fitted))
    first, probabilities = in_first_half(images.unit_ids), np.empty_like(images.scores)
    for fitted_on in (first, ~first):
        labels = images.labels[fitted_on]
        temperature = fit_temperature(images.scores[fitted_on], labels).temperature if len(labels) else 1.0
        probabilities[~fitted_on] = tempered_probabilities(images.scores[~fitted_on], temperature)
    return images.confidence_by(probabilities)


#: Figures that follow from what errors cost, where that is given.
OF_COSTS = ("clean.cost", "clean.cost_saved", "discrimination.net_benefit")

#: −log p of a class that was held impossible, as the audit counts it.
LARGEST_LOSS = 1e3


@dataclass(frozen=True)
class FigureDifference:
    """One figure of two runs.

    Attributes:
        name: dotted.
        first, second: as in the reports, on all images of each run; None where it was not measured.
        difference: on the images that are compared; None where it is unknown. reason: why it is unknown, or not known
            better.
    """

    name: str
    first: CheckFigure | None
    second: CheckFigure | None
    difference: Difference | None
    reason: str | None = None


def compare_figures(pair: Pair, *, resamples: int) -> list[FigureDifference]:
    """Differences of all figures of both reports, then of the accuracy of each class (``class.NAME.accuracy``)."""
    ours, theirs = pair.first.record.report.metrics, pair.second.record.report.metrics
    unlike = differing_parameters(pair.first.record, pair.second.record)
    bags = BagPair.of(pair)
    found = [_compare_named(name, pair, unlike, bags, resamples) for name in dict.fromkeys((*ours, *theirs))]
    return found + compare_classes(pair)


def compare_figure(name: str, pair: Pair, *, resamples: int) -> FigureDifference:
    """Difference of one figure of both reports."""
    unlike = differing_parameters(pair.first.record, pair.second.record)
    return _compare_named(name, pair, unlike, BagPair.of(pair), resamples)


def _compare_named(
    name: str, pair: Pair, unlike: Mapping[str, str], bags: BagPair | None, resamples: int
) -> FigureDifference:
    before, after = (side.record.report.metrics.get(name) for side in (pair.first, pair.second))
    reason = unlike.get(name.partition(".")[0])
    if before is None or after is None:
        which = "first" if before is None else "second"
        side = pair.first if before is None else pair.second
        reason = absence(name.partition(".")[0], side.record, which)
    if reason is None:
        reason = _unlike_means(name, pair)
    if reason is not None or before is None or after is None:
        return FigureDifference(name, before, after, None, reason)
    if segmenters(pair) and name.startswith(f"{CHECK}."):
        difference = overlap_difference(name, pair, resamples)
        why = None if difference else "too few images were measured in both runs"
        return FigureDifference(name, before, after, difference, why)
    if bags is not None and name.startswith(f"{BAGS}."):
        difference = compare_bag_figure(name, bags, resamples)
        return FigureDifference(name, before, after, difference, None if direction(name) else _no_side(name))
    return _compare(name, before, after, pair, resamples)


def compare_classes(pair: Pair) -> list[FigureDifference]:
    """Accuracy of each class that has images in both runs."""
    found = []
    present = set(pair.first.images.classes_present()) & set(pair.second.images.classes_present())
    for label in sorted(present):
        estimates, units = [], []
        for side in (pair.first, pair.second):
            member = side.images.labels == label
            estimates.append(Mean(side.images.correct[member].astype(np.float64)))
            units.append(side.images.units_of(member))
        difference = difference_of(estimates[0], estimates[1], units, paired=pair.paired)
        name = f"class.{pair.first.record.class_names[label]}.accuracy"
        found.append(FigureDifference(name, None, None, difference))
    return found


def _compare(name: str, before: CheckFigure, after: CheckFigure, pair: Pair, resamples: int) -> FigureDifference:
    check, _, column = name.partition(".")
    listed = listed_difference(pair, check, column)
    if listed is not None:
        return FigureDifference(name, before, after, listed, None if direction(name) else _no_side(name))
    if pair.paired:
        known = ~np.isnan(per_image(name, pair.first)) & ~np.isnan(per_image(name, pair.second))
        masks = known, known
    else:
        masks = ~np.isnan(per_image(name, pair.first)), ~np.isnan(per_image(name, pair.second))
    sides = pair.first, pair.second
    made = [estimate(name, side, mask, resamples) for side, mask in zip(sides, masks, strict=True)]
    if made[0] is None or made[1] is None:
        difference = unpaired_difference(FromInterval(before), FromInterval(after), None, None)
        reason = "taken from the intervals of the reports" if direction(name) else _no_side(name)
        return FigureDifference(name, before, after, difference, reason)
    units: list[Units] = [side.images.units_of(mask) for side, mask in zip(sides, masks, strict=True)]
    return FigureDifference(name, before, after, difference_of(made[0], made[1], units, paired=pair.paired))


def of_images(check: str) -> bool:
    """Whether each accuracy of a check is a mean over the audited images."""
    known = index.checks().get(check)
    return known is not None and known.of_images


def per_image(name: str, side: Side) -> NDArray[np.float64]:
    """What the figure is the mean of, (n,), NaN for an image without it; zeros for one that is no mean."""
    images = side.images
    check, _, rest = name.partition(".")
    if name == "clean.cost":
        assert side.costs is not None
        paid: NDArray[np.float64] = side.costs[images.labels, images.predictions]
        return paid
    if name == "clean.accuracy" or name == "clean.balanced_accuracy":
        return images.correct.astype(np.float64)
    if name == "corruption.clean_error":
        return 1.0 - images.correct.astype(np.float64)
    if check != "adversarial" and of_images(check) and rest.endswith(".accuracy"):
        kind, _, severity = rest.removesuffix(".accuracy").partition(".")
        return right_under(side, check, setting_name(kind, float(severity)))
    if check == "corruption" and rest.endswith(".error"):
        return 1.0 - mean_right(side, rest.removesuffix(".error"))
    if name == "corruption.error":
        kinds = [part.split(".")[1] for part in side.record.report.metrics if _is_error_of_kind(part)]
        if not kinds:
            return np.full(len(images), np.nan)
        return 1.0 - np.mean([mean_right(side, kind) for kind in kinds], axis=0)
    if check == "adversarial" and rest.endswith(".fgsm.accuracy"):
        found = right_under(side, check, rest.removesuffix(".accuracy"))
        # What was wrong already was not attacked.
        return np.where(np.isnan(found), images.correct, found)
    if check == "adversarial" and rest.endswith(".accuracy"):
        return right_under(side, check, rest.removesuffix(".accuracy"))
    if name == "group_gap.worst_accuracy":
        values = list(images.factors.values()) or [images.groups]
        known = np.any([[value is not None for value in one] for one in values], axis=0)
        return np.where(known, 0.0, np.nan)
    return np.zeros(len(images))


def estimate(name: str, side: Side, known: NDArray[np.bool_], resamples: int) -> Estimate | None:
    """The figure of the images of a mask (n,); None where it cannot be had from evidence."""
    images = side.images.select(known)
    values = per_image(name, side)[known]
    check = name.partition(".")[0]
    if not len(images):
        return None
    if name == "clean.balanced_accuracy":
        return Stratified(values, images.labels)
    if name.endswith("error") and check == "corruption":
        balanced = benchmark(side.record.parameters["corruption"].get("benchmark", IMAGENET_C)).balanced
        return Stratified(values, images.labels) if balanced else Mean(values)
    if name == "clean.cost":
        return Mean(values, bounded=False)
    if name == "clean.accuracy" or (of_images(check) and name.endswith(".accuracy")):
        return Mean(values)
    if name in ("calibration.brier", "calibration.nll") and images.scores is not None:
        return Mean(_proper_score(name, images.scores, images.labels), bounded=False)
    if name == "discrimination.auroc" and images.scores is not None:
        area = weighted_macro_auroc(images.labels, tempered_probabilities(images.scores, 1.0))
        return OfWeights(area, len(images), resamples)
    statistic = _statistic(name, side, images)
    return None if statistic is None else OfWeights(statistic, len(images), resamples)


def right_under(side: Side, check: str, setting: str) -> NDArray[np.float64]:
    """1 where right, 0 where wrong, NaN where nothing was measured, (n,)."""
    outcomes = side.outcomes(check, setting)
    return np.where(outcomes == ABSENT, np.nan, outcomes == RIGHT)


def mean_right(side: Side, kind: str) -> NDArray[np.float64]:
    """Share of the severities of a corruption at which each image is right, (n,), NaN where one is missing."""
    severities = side.record.parameters["corruption"]["severities"]
    return np.mean([right_under(side, "corruption", setting_name(kind, severity)) for severity in severities], axis=0)


def _statistic(name: str, side: Side, images: PerImage) -> WeightedStatistic | None:
    correct = images.correct
    if name == "group_gap.worst_accuracy":
        if not images.factors:
            return weighted_worst_mean(correct, images.groups)
        each = []
        for levels in images.factors.values():
            held = np.array([level is not None for level in levels], dtype=bool)
            if held.any():
                kept = [level for level in levels if level is not None]
                each.append((held, weighted_worst_mean(correct[held], kept)))
        return lambda weights: min(
            (mean(weights[held]) for held, mean in each if weights[held].any()), default=float("nan")
        )
    if images.confidence is None:
        return None
    sure = images.confidence
    bins = int(side.record.parameters.get("calibration", {}).get("bins", 15))
    if name == "calibration.ece":
        return weighted_calibration_error(sure, correct, bins)
    if name == "calibration.ece_with_temperature":
        tempered = tempered_confidence(side.record, images)
        return None if tempered is None else weighted_calibration_error(tempered, correct, bins)
    risk = float(side.record.parameters.get("selective", {}).get("risk", 0.01))
    of_rows: Mapping[str, Callable[[NDArray[np.int64]], float]] = {
        "calibration.adaptive_ece": lambda rows: adaptive_calibration_error(sure[rows], correct[rows], bins),
        "selective.aurc": lambda rows: RiskCoverage.of(sure[rows], correct[rows]).area,
        "selective.coverage": lambda rows: RiskCoverage.of(sure[rows], correct[rows]).coverage_at(risk),
    }
    if name not in of_rows:
        return None
    figure = of_rows[name]
    return lambda weights: figure(np.repeat(np.arange(len(sure)), weights.astype(np.int64)))


def _proper_score(name: str, scores: NDArray[np.float64], labels: NDArray[np.int64]) -> NDArray[np.float64]:
    probabilities = tempered_probabilities(scores, 1.0)
    hit = probabilities[np.arange(len(labels)), labels]
    if name == "calibration.brier":
        return (probabilities**2).sum(1) - 2 * hit + 1
    with np.errstate(divide="ignore"):
        return np.minimum(-np.log(hit), LARGEST_LOSS)


def weighted_worst_mean(values: NDArray[np.bool_], groups: Sequence[str | None]) -> WeightedStatistic:
    """Smallest mean of a group as a function of weights (n,): values (n,), groups (n,), all known.

    >>> weighted_worst_mean(np.array([True, True, True, False]), ["a", "a", "b", "b"])(np.array([1.0, 1, 3, 1]))
    0.75
    """
    codes = np.unique([str(group) for group in groups], return_inverse=True)[1]

    def statistic(weights: NDArray[np.float64]) -> float:
        sizes = np.bincount(codes, weights)
        return float((np.bincount(codes, weights * values)[sizes > 0] / sizes[sizes > 0]).min())

    return statistic


def _no_side(name: str) -> str:
    if name.rpartition(".")[2] in TRADED:
        area = "bags.auroc" if name.startswith(f"{BAGS}.") else "discrimination.auroc"
        return f"no better side: a threshold trades one for the other; compare {area}"
    return "a loss in it is not defined"


def _is_error_of_kind(name: str) -> bool:
    return name.startswith("corruption.") and name.endswith(".error") and name.count(".") == 2


def _states_probability(name: str, pair: Pair) -> bool:
    """Whether a net benefit is at a threshold probability that was stated, so that costs do not matter."""
    check, _, figure = name.partition(".")
    return figure == "net_benefit" and pair.first.record.parameters[check].get("threshold_probability") is not None


def _unlike_means(name: str, pair: Pair) -> str | None:
    """Why a figure of the same name means something else in the other run."""
    sides = pair.first.images, pair.second.images
    others = sides[0].groups != sides[1].groups or sides[0].factors != sides[1].factors
    if name in ("group_gap.worst_accuracy", "group_gap.worst_pair_accuracy") and pair.paired and others:
        return "images belong to other groups in the second run"
    if name in OF_COSTS and not pair.same_costs and not _states_probability(name, pair):
        return "errors cost otherwise in the second run"
    if name == "calibration.ece_with_temperature":
        first, second = pair.first.record, pair.second.record
        alike = same_set(first, second, "val") and same_labels(first, second, [first.val, second.val])
        return None if alike else "the temperature was fitted on other images"
    if not (name.startswith("corruption.") and not name.endswith(".accuracy")):
        return None
    ours, theirs = (side.record.parameters["corruption"] for side in (pair.first, pair.second))
    if sorted(ours["severities"]) != sorted(theirs["severities"]):
        return "a mean over other severities"
    kinds = [
        {part for part in side.record.report.metrics if _is_error_of_kind(part)} for side in (pair.first, pair.second)
    ]
    if kinds[0] != kinds[1] and name in ("corruption.error", "corruption.mce", "corruption.relative_mce"):
        return "a mean over other kinds of corruption"
    if name.endswith("mce") and ours.get("reference") != theirs.get("reference"):
        return "divided by the errors of another reference"
    return None
