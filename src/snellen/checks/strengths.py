"""What the same images lose at each strength of a change, and figures of corruptions by kind."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from snellen.checks.check import CheckFigure, CheckInput
from snellen.checks.eye_chart import Column, chance_level, column, retained
from snellen.checks.per_image import ABSENT, RIGHT, WRONG, PerImage
from snellen.core.evidence import Evidence
from snellen.core.finding import Finding
from snellen.metrics.clustered import ClusteredMean, clustered_mean, clustered_share
from snellen.metrics.corruption_error import NormalisedErrors, Reference, normalise
from snellen.metrics.intervals import clopper_pearson
from snellen.metrics.stratified import stratified_interval
from snellen.metrics.sweep import setting_name

#: Of the two images that are added to the drops before the interval is taken, one is lost and one gained, as in the
#: adjusted Wald interval of Agresti and Min (2005) for paired shares. Two images that are both lost prove nothing.
PSEUDO_UNITS = 1.0


@dataclass(frozen=True, eq=False)
class Lost:
    """Right decisions lost on average over the strengths, of images that were measured at all of them.

    Attributes:
        paired: which images those are, bool (n,).
        before: share of them that is right without the change.
        after: share that is right at each strength, (strengths,).
        drop: mean loss, with pseudo-units.
    """

    paired: NDArray[np.bool_]
    before: float
    after: NDArray[np.float64]
    drop: ClusteredMean

    @property
    def mean(self) -> float:
        """The loss itself, without pseudo-units."""
        return self.before - float(self.after.mean())

    @property
    def worst(self) -> int:
        """Position of the strength at which the fewest images are right."""
        return int(self.after.argmin())


def lost_over(
    right: NDArray[np.bool_], outcomes: NDArray[np.int8], units: NDArray[np.int64] | None = None
) -> Lost | None:
    """Pair images with themselves; None where none was measured at every strength.

    Args:
        right: (n,), whether each is right without the change.
        outcomes: (strengths, n), see :meth:`snellen.checks.per_image.PerImage.outcomes`.
        units: (n,), code of each one's unit; None when each is its own.
    """
    paired: NDArray[np.bool_] = (outcomes != ABSENT).all(0)
    if not paired.any():
        return None
    kept = outcomes[:, paired] == RIGHT
    drop = clustered_mean(
        right[paired] - kept.mean(0), None if units is None else units[paired], pseudo_units=PSEUDO_UNITS
    )
    return Lost(paired, float(right[paired].mean()), kept.mean(1), drop)


def in_costs(found: Lost, images: PerImage, evidence: Evidence, settings: Sequence[str]) -> Lost:
    """The same loss as a mean of what decisions cost, where errors do not cost alike; as it came where they do.

    Args:
        found: right decisions that are lost.
        images: with costs or without.
        evidence: of the check.
        settings: of the strengths.
    """
    weighed = images.weighed
    if weighed is None:
        return found
    after = np.mean([images.loss_of(images.decisions(evidence, setting)[0]) for setting in settings], axis=0)
    change = (after - weighed)[found.paired]
    return replace(found, drop=clustered_mean(change, images.units_of(found.paired), pseudo_units=PSEUDO_UNITS))


def counted_in_costs(finding: Finding, found: Lost, costs: Lost) -> Finding:
    """A finding of lost accuracy with the p value of what the loss costs, and as much less that is usual."""
    if costs is found:
        return finding
    usual = finding.usual * cost_of_a_loss(found, costs)
    return finding.model_copy(update={"p_value": costs.drop.p_value(), "usual": usual})


def cost_of_a_loss(found: Lost, costs: Lost) -> float:
    """What a lost decision costs on average, in [0, 1] with 1 for the costliest error; 0 where none is lost."""
    if costs is found:
        return 1.0
    return min(max(costs.drop.value / found.drop.value, 0.0), 1.0) if found.drop.value > 0 else 0.0


def accuracy_at(outcomes: NDArray[np.int8], units: NDArray[np.int64] | None) -> CheckFigure:
    """Accuracy at one strength, over the images that are not absent: outcomes (n,)."""
    known = outcomes != ABSENT
    right = outcomes[known] == RIGHT
    low, high = clustered_share(right, None if units is None else units[known])
    return CheckFigure(value=float(right.mean()), low=low, high=high, n=len(right))


def chart_column(
    name: str, check: str, outcomes: NDArray[np.int8], severities: Sequence[float], reading: CheckInput
) -> Column | None:
    """A column of the eye chart: what is retained at each severity; None where nothing is defined."""
    images = reading.images
    chance = chance_level(images.labels[images.labelled], len(reading.names))
    cells = [
        retained(images.correct[known], after[known] == RIGHT, chance, severity, images.units_of(known))
        for severity, after in zip(severities, outcomes, strict=True)
        if (known := images.labelled & (after != ABSENT)).any()
    ]
    return column(name, check, cells)


#: A class is broken when more than this share of its images that are right when clean is lost, at 95 % confidence.
BROKEN = 0.5


def outcomes_by_kind(
    evidence: Evidence, images: PerImage, kinds: Sequence[str], severities: Sequence[float]
) -> dict[str, NDArray[np.int8]]:
    """Outcome of every image at every severity, by kind: int8 (severities, n), see :meth:`PerImage.outcomes`."""
    return {
        kind: np.stack([images.outcomes(evidence, setting_name(kind, severity)) for severity in severities])
        for kind in kinds
    }


def error_metrics(
    images: PerImage,
    outcomes: Mapping[str, NDArray[np.int8]],
    *,
    balanced: bool,
    reference: Reference | None,
) -> dict[str, CheckFigure]:
    """Errors averaged over severities, by kind and over all kinds; with a reference, also normalised by its errors.

    ``corruption.KIND.error``, ``corruption.error``, ``corruption.clean_error``; ``corruption.mce`` (CE averaged over
    the kinds) and ``corruption.relative_mce`` (over the kinds that cost the reference anything). Balanced errors weigh
    every class alike. Intervals take the reference's errors as known.
    """
    usable = images.labelled & np.all([(rows != ABSENT).all(0) for rows in outcomes.values()], axis=0)
    if not usable.any():
        return {}
    strata = images.labels[usable] if balanced else np.zeros(int(usable.sum()), dtype=np.int64)
    units = images.units_of(usable)
    clean_error = 1.0 - images.correct[usable]
    by_kind = {kind: 1.0 - (rows[:, usable] == RIGHT).mean(0) for kind, rows in outcomes.items()}

    def measured(values: NDArray[np.float64], least: float = 0.0, most: float = 1.0) -> CheckFigure:
        mean, low, high = stratified_interval(values, strata, units)
        return CheckFigure(value=mean, low=max(low, least), high=min(high, most), n=len(values))

    found = {f"corruption.{kind}.error": measured(values) for kind, values in by_kind.items()}
    found["corruption.clean_error"] = measured(clean_error)
    found["corruption.error"] = measured(np.mean(list(by_kind.values()), axis=0))
    if reference is not None:
        normalised = normalised_errors(found, reference)
        counting = {kind: reference.mean_errors[kind] for kind in outcomes if kind not in reference.extra}
        divisors = {kind: error for kind, error in counting.items() if kind not in normalised.undefined}
        if divisors:
            ratios = [by_kind[kind] / error for kind, error in divisors.items()]
            most = float(np.mean([1 / error for error in divisors.values()]))
            found["corruption.mce"] = measured(np.mean(ratios, axis=0), most=most)
        rises = {
            kind: error - reference.clean_error
            for kind, error in counting.items()
            if kind not in normalised.relative_undefined
        }
        if rises:
            relative = [(by_kind[kind] - clean_error) / rise for kind, rise in rises.items()]
            most = float(np.mean([1 / rise for rise in rises.values()]))
            found["corruption.relative_mce"] = measured(np.mean(relative, axis=0), -most, most)
    return found


def normalised_errors(metrics: Mapping[str, CheckFigure], reference: Reference) -> NormalisedErrors:
    """The errors of :func:`error_metrics` in units of a reference: which kinds have no ratio, and which are missing."""
    errors = {
        name.split(".")[1]: [figure.value] * reference.severities
        for name, figure in metrics.items()
        if name.count(".") == 2 and name.endswith(".error")
    }
    return normalise(errors, metrics["corruption.clean_error"].value, reference)


def class_breaks(
    images: PerImage,
    outcomes: NDArray[np.int8],
    severities: Sequence[float],
    names: Sequence[str],
    *,
    kinds: int = 1,
) -> dict[str, float]:
    """Classes that a kind breaks, and the smallest severity at which it does.

    A class is broken when, of its images that are right when clean, more than half are significantly wrong: the lower
    end of the exact interval (Clopper and Pearson 1934), at 95 % over all classes, severities and the number of
    ``kinds`` tested together (Bonferroni). Images count as independent.
    """
    present = images.classes_present()
    confidence = 1 - 0.05 / max(len(present) * len(severities) * kinds, 1)
    found: dict[str, float] = {}
    for row, severity in sorted(enumerate(severities), key=lambda pair: pair[1]):
        for label in present:
            after = outcomes[row, images.correct & (images.labels == label)]
            known, lost = int((after != ABSENT).sum()), int((after == WRONG).sum())
            broken = 2 * lost > known and clopper_pearson(lost, known, confidence).low > BROKEN
            if broken and names[label] not in found:
                found[names[label]] = severity
    return found


def failure_severities(
    images: PerImage, outcomes: NDArray[np.int8], severities: Sequence[float]
) -> NDArray[np.float64]:
    """Smallest severity at which each image that is right when clean is wrong, ∞ where it stays right: (n_right,)."""
    order = np.argsort(severities)
    wrong = outcomes[order][:, images.correct] == WRONG
    first = np.where(wrong.any(0), wrong.argmax(0), -1)
    return np.where(first >= 0, np.asarray(severities, dtype=np.float64)[order][first], np.inf)


def half_lost_at(failures: NDArray[np.float64]) -> float | None:
    """Smallest severity by which half of the images that are right when clean have been wrong; None if none is."""
    if not len(failures):
        return None
    middle = float(np.sort(failures)[(len(failures) + 1) // 2 - 1])
    return middle if np.isfinite(middle) else None
