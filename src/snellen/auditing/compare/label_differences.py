"""What changed between two audits of models of several labels an image: figures and findings, label by label.

Each label is compared as a decision of two classes, by the rules of one class an image, on all images or on those of
one side; figures of the check ``labels`` are taken of both runs' labels and decisions again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from snellen.auditing.by_label import LABEL, SIDE, Side, figure_of_label, subject_of_label
from snellen.auditing.checks import CHECKS
from snellen.auditing.compare.better_side import direction
from snellen.auditing.compare.difference import Difference, OfWeights, difference_of
from snellen.auditing.compare.figures import FigureDifference, compare_figures
from snellen.auditing.compare.finding_differences import compare_quantities
from snellen.auditing.compare.pairing import Pair, absence, differing_parameters
from snellen.auditing.compare.pairing import Side as Run
from snellen.auditing.compare.run_record import RunRecord
from snellen.auditing.label_figures import OF_EACH, OVERALL, statistic_of
from snellen.checks.label_sets import LabelSets, evidence_of_label
from snellen.checks.per_image import PerImage
from snellen.metrics.weighted import WeightedStatistic

#: Name of the check, and first part of its figures.
CHECK = "labels"

#: Kinds of findings that are compared on each side of a label, and those that the check ``labels`` defines.
ON_SIDES = ("corruption", "adversarial", "group_gap")
OWN = ("accuracy", "worst_class", "class_order")


def several(pair: Pair) -> bool:
    """Whether both runs audited a model of several labels an image."""
    return bool(pair.first.record.report.model["task"] == "multilabel")


class _View(NamedTuple):
    """A pair of runs as one label has them, on one side of it or on both."""

    label: str
    side: Side | None
    pair: Pair


def label_figures(pair: Pair, *, resamples: int) -> list[FigureDifference]:
    """Differences of all figures of both reports, and of the accuracy on both sides of each label."""
    found = _own_figures(pair, resamples)
    for view in _views(pair):
        for one in compare_figures(view.pair, resamples=resamples):
            if one.name.startswith("class."):
                if view.side is None:
                    found.append(one)
                continue
            found.append(replace(one, name=figure_of_label(one.name, view.label, view.side)))
    seen = {one.name for one in found}
    whole = _restricted(pair, lambda name: name not in seen and not name.startswith(f"{CHECK}."))
    found += [one for one in compare_figures(whole, resamples=resamples) if not one.name.startswith("class.")]
    return found


def label_quantities(pair: Pair, *, resamples: int) -> dict[str, Difference]:
    """Quantities behind findings, by key; a rise is worse.

    ``accuracy:LABEL`` 1 − area under the ROC curve; ``worst_class:LABEL`` mean recall of the other labels less its own;
    ``threshold:LABEL`` 1 − balanced accuracy; all others as for one class an image, on the images of each label.
    """
    found = dict[str, Difference]()
    unlike = differing_parameters(pair.first.record, pair.second.record)
    for place, label in enumerate(pair.first.record.class_names):
        if CHECK in unlike:
            break
        wanted: dict[str, Callable[[LabelSets], WeightedStatistic | None]] = {
            "accuracy": lambda sets, at=place: _lost("auroc", sets, at),  # type: ignore[misc]
            "worst_class": lambda sets, at=place: _behind(sets, at),  # type: ignore[misc]
            "threshold": lambda sets, at=place: _lost("balanced_accuracy", sets, at),  # type: ignore[misc]
        }
        for kind, made in wanted.items():
            difference = _difference(pair, made, resamples)
            if difference is not None:
                found[f"{kind}:{label}"] = difference
    for view in _views(pair):
        for key, difference in compare_quantities(view.pair, resamples=resamples).items():
            kind, _, subject = key.partition(":")
            if kind in OWN or (kind in ON_SIDES) != (view.side is not None):
                continue
            found[f"{kind}:{subject_of_label(subject, view.label, view.side)}"] = difference
    return found


def _own_figures(pair: Pair, resamples: int) -> list[FigureDifference]:
    ours, theirs = pair.first.record.report.metrics, pair.second.record.report.metrics
    unlike = differing_parameters(pair.first.record, pair.second.record).get(CHECK)
    names, found = pair.first.record.class_names, []
    wanted: dict[str, tuple[str, int | None]] = {f"{CHECK}.{name}": (name, None) for name in OVERALL}
    wanted |= {f"{CHECK}.{label}.{name}": (name, at) for at, label in enumerate(names) for name in OF_EACH}
    for name, (figure, place) in wanted.items():
        if name not in ours and name not in theirs:
            continue
        difference, reason = None, unlike
        if name not in ours or name not in theirs:
            which, record = ("first", pair.first.record) if name not in ours else ("second", pair.second.record)
            reason = absence(CHECK, record, which)
        if reason is None:
            difference = _difference(pair, lambda sets, f=figure, at=place: statistic_of(f, sets, at), resamples)  # type: ignore[misc]
            if difference is None:
                reason = "too few images have it, or lack it, in both runs"
            elif not direction(name):
                reason = "no better side: a threshold trades one for the other; compare the balanced accuracy"
        found.append(FigureDifference(name, ours.get(name), theirs.get(name), difference, reason))
    return found


def _difference(pair: Pair, made: Callable[[LabelSets], WeightedStatistic | None], resamples: int) -> Difference | None:
    sides = (pair.first.images, pair.second.images)
    statistics = [None if one.sets is None else made(one.sets) for one in sides]
    if statistics[0] is None or statistics[1] is None:
        return None
    estimates = [OfWeights(one, len(images), resamples) for one, images in zip(statistics, sides, strict=True) if one]
    if not all(np.isfinite(one.value) for one in estimates):
        return None
    return difference_of(estimates[0], estimates[1], [one.units for one in sides], paired=pair.paired)


def _lost(figure: str, sets: LabelSets, place: int) -> WeightedStatistic | None:
    own = statistic_of(figure, sets, place)
    return None if own is None else lambda weights: 1.0 - own(weights)


def _behind(sets: LabelSets, place: int) -> WeightedStatistic | None:
    recalls = [statistic_of("sensitivity", sets, other) for other in range(sets.labels.shape[1])]
    own, others = recalls[place], [one for at, one in enumerate(recalls) if one is not None and at != place]
    if own is None or not others:
        return None

    def behind(weights: np.ndarray) -> float:
        found = [value for one in others if np.isfinite(value := one(weights))]
        return (float(np.mean(found)) if found else float("nan")) - own(weights)

    return behind


def _views(pair: Pair) -> Iterator[_View]:
    for place, label in enumerate(pair.first.record.class_names):
        sides: tuple[Side | None, ...] = (None, "present", "absent")
        for side in sides:
            runs = [_run_of_label(run, place, label, side) for run in (pair.first, pair.second)]
            if all(len(run.images) for run in runs):
                yield _View(label, side, replace(pair, first=runs[0], second=runs[1], relabelled=0))


def _run_of_label(run: Run, place: int, label: str, side: Side | None) -> Run:
    images: PerImage = run.images.of_label(place)
    rows = np.flatnonzero(images.labelled if side is None else images.labels == (1 if side == "present" else 0))
    record = _record_of_label(run.record, label, side)
    return Run(record, run.rows[rows], images.select(rows), record.class_names)


def _record_of_label(record: RunRecord, label: str, side: Side | None) -> RunRecord:
    place = record.class_names.index(label)
    mode = ("sides",) if side else ("each", "apart")
    checks = tuple(one for one in record.report.checks if one.name in CHECKS and CHECKS[one.name].several in mode)
    kept = {one.name for one in checks}
    metrics = {}
    for name, figure in record.report.metrics.items():
        check, _, rest = name.partition(".")
        start = f"{label}.{side}." if side else f"{label}."
        if check in kept and rest.startswith(start):
            metrics[f"{check}.{rest.removeprefix(start)}"] = figure
    report = record.report.model_copy(
        update={
            "metrics": metrics,
            "checks": checks,
            "model": {**record.report.model, "task": "single"},
            "findings": tuple(
                one for one in record.report.findings if one.facts.get(LABEL) == label and one.facts.get(SIDE) == side
            ),
        }
    )
    names = [f"no {label}", label]

    def own(row: Mapping[str, Any]) -> bool:
        return row.get(LABEL) == label and row.get(SIDE) == side

    return RunRecord(
        report,
        {**record.plan, "model": {**record.plan["model"], "class_names": names}},
        {name: evidence_of_label(one, place) for name, one in record.evidence.items()},
        None if record.val_evidence is None else evidence_of_label(record.val_evidence, place),
        None if record.trained_on is None else evidence_of_label(record.trained_on, place),
        {name: [row for row in rows if own(row)] for name, rows in record.lists.items()},
    )


def _restricted(pair: Pair, kept: Callable[[str], bool]) -> Pair:
    """The pair with some of its figures."""

    def of(run: Run) -> Run:
        metrics = {name: one for name, one in run.record.report.metrics.items() if kept(name)}
        report = run.record.report.model_copy(update={"metrics": metrics})
        return replace(run, record=replace(run.record, report=report))

    return replace(pair, first=of(pair.first), second=of(pair.second))
