"""Models of several labels an image under checks of one class an image: each label is two classes, without it and with.

What is found keeps its statistics: hypotheses of all labels are judged together with all others of the audit, and
intervals count units. Figures are named CHECK.LABEL.FIGURE, on the images that have a label CHECK.LABEL.present.FIGURE
and on the others CHECK.LABEL.absent.FIGURE; findings begin with the label.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import pyarrow as pa
from torch import Tensor

from snellen.auditing.checks.labels import Labels, without_labels
from snellen.auditing.label_figures import OF_EACH, OVERALL
from snellen.checks.check import Batch, Check, CheckFigure, CheckInput, CheckResult, Companion
from snellen.checks.hypothesis import Hypothesis
from snellen.checks.label_sets import OF_LABEL, combined, evidence_of_label
from snellen.checks.panels import Panel
from snellen.checks.per_image import PerImage
from snellen.checks.sampled import Sampled
from snellen.core.classifier import Classifier
from snellen.core.errors import InputError
from snellen.core.evidence import Evidence
from snellen.core.finding import Finding
from snellen.core.images import ImageSet
from snellen.core.listed_names import listed_names

#: A side of a label: the images that have it, and those that do not.
Side = Literal["present", "absent"]

#: What accuracy is called on each side.
WORDS: Mapping[Side, str] = {"present": "recall", "absent": "specificity"}
CONDITIONS: Mapping[Side, str] = {"present": "of images that show it", "absent": "of images without it"}

#: Images that a check of attacks measures for each label at least, on average, where it bounds them.
FEWEST_EACH = 100

#: Labels that a note names.
_NAMED = 6

#: Fact of a finding that names its label, and fact that names its side.
LABEL, SIDE = "label", "images_where_it_is"


def missing_by_label(
    check: Check, classifier: Classifier, images: ImageSet, companions: frozenset[Companion]
) -> str | None:
    """Why a check cannot run on a model of several labels an image, or None."""
    if check.several is None:
        return f"is not for several labels an image: {check.one_label}"
    if check.several == "itself":
        return check.missing(classifier, images, companions)
    if "labels" in check.needs and (why := without_labels(images)) is not None:
        return why
    plain = images if "labels" not in images.table.column_names else images.of_label(0)
    return check.missing(classifier.of_label(0), plain, companions)


def sized_by_label(check: Check, labels: int, images: int) -> Check:
    """The check as it measures so many labelled images: a bound is shared by the labels where each is searched anew."""
    if isinstance(check, Sampled) and _anew(check) and check.most is not None:
        check = check.model_copy(update={"most": max(math.ceil(check.most / labels), min(check.most, FEWEST_EACH))})
    return check.sized(images)


def cost_by_label(check: Check, labels: int) -> float:
    """Passes for each image."""
    return check.cost() * (labels if _anew(check) or (check.several == "each" and not check.measures) else 1)


def _anew(check: Check) -> bool:
    """Whether each label is measured by itself: attacks have one goal, and what changes images alone has none."""
    return check.measures and check.several in ("each", "sides") and not check.all_labels_at_once


def measure_by_label(check: Check, batch: Batch) -> Evidence | None:
    """What a check measures of a batch: at once where its evidence is of all labels, else for each label."""
    if not _anew(check):
        return check.measure(batch)
    parts = []
    for place in range(len(batch.classifier.class_names)):
        found = check.measure(batch.of_label(place))
        if found is not None:
            column = pa.array([place] * len(found), pa.int16())
            parts.append(replace(found, table=found.table.append_column(OF_LABEL, column)))
    return Evidence.merge(parts) if parts else None


def illustrate_by_label(check: Check, finding: Finding, batch: Batch) -> Tensor | None:
    """The images of a finding's examples as the check changed them."""
    names = batch.classifier.class_names
    if check.several == "itself" or finding.facts.get(LABEL) not in names:
        return check.illustrate(finding, batch)
    own = batch.of_label(names.index(str(finding.facts[LABEL])))
    # What changes images for all labels at once did so with the randomness of the whole batch.
    return check.illustrate(finding, own if _anew(check) else replace(own, rng=batch.rng))


def conclude_by_label(check: Check, reading: CheckInput) -> CheckResult:
    """What a check concludes of a model of several labels an image."""
    if check.several == "itself":
        return check.conclude(reading)
    if check.several == "whole":
        return check.conclude(whole_reading(reading))
    parts = [_Part(one.label, one.side, one.share, _attempt(check, one.reading)) for one in _readings(check, reading)]
    apart = [check.conclude(_without_labels(reading))] if check.several == "apart" else []
    done = [part for part in parts if part.conclusion.skipped is None]
    if not done and not apart:
        return CheckResult(skipped=parts[0].conclusion.skipped)
    return _joined(check, apart, done, [part for part in parts if part.conclusion.skipped is not None])


@dataclass(frozen=True, eq=False)
class _View:
    """A reading of one label, on one side of it or on both; and the share of the images that it is of."""

    label: str
    side: Side | None
    share: float
    reading: CheckInput


@dataclass(frozen=True, eq=False)
class _Part:
    label: str
    side: Side | None
    share: float
    conclusion: CheckResult


def of_label(reading: CheckInput, place: int) -> CheckInput:
    """What is known of one label."""
    several = reading.audited is not None and "labels" in reading.audited.table.column_names
    return replace(
        reading,
        evidence=evidence_of_label(reading.evidence, place),
        images=reading.images.of_label(place),
        classifier=reading.classifier.of_label(place),
        companions={name: one.of_label(place) for name, one in reading.companions.items() if one.sets is not None},
        audited=reading.audited.of_label(place) if several and reading.audited is not None else reading.audited,
    )


def side_of(images: PerImage, side: Side) -> PerImage:
    """The images on one side of a label, from those of :meth:`PerImage.of_label`; without a name for an odd set."""
    return images.select(images.labels == (1 if side == "present" else 0))


def _readings(check: Check, reading: CheckInput) -> Iterator[_View]:
    for place, label in enumerate(reading.names):
        own = of_label(reading, place)
        if check.several == "apart":
            own = replace(
                own,
                images=replace(own.images, features=None, properties=None),
                companions={name: replace(one, features=None, properties=None) for name, one in own.companions.items()},
            )
        if check.several != "sides":
            yield _View(label, None, 1.0, own)
            continue
        known = int(own.images.labelled.sum())
        sides: tuple[Side, Side] = ("present", "absent")
        for side in sides:
            images = side_of(own.images, side)
            ids = pa.array(images.ids, pa.string())
            table = own.evidence.table
            evidence = replace(own.evidence, table=table.filter(pa.compute.is_in(table["example_id"], ids)))
            # What healthy classifiers lose is known for one class an image.
            view = replace(own, images=images, evidence=evidence, audited=None)
            yield _View(label, side, len(images) / known if known else 0.0, view)


def _attempt(check: Check, reading: CheckInput) -> CheckResult:
    """The conclusion; that a label has too few images costs no other label its own."""
    if reading.images.sets is None and "labels" in check.needs and not reading.images.labelled.any():
        return CheckResult(skipped="has no image with this label known")
    if check.model_judges and not _found_mostly(reading.images):
        return CheckResult(
            skipped="the model finds the label in fewer than half of the images that have it, and is no judge of it"
        )
    try:
        return check.conclude(reading)
    except InputError as error:
        return CheckResult(skipped=str(error))


def _found_mostly(images: PerImage) -> bool:
    have = images.labels == 1
    return bool(have.any() and images.correct[have].mean() >= 0.5)


def whole_reading(reading: CheckInput) -> CheckInput:
    """The reading with each combination of labels as a class of its own: right is what has all labels right."""
    held = [reading.images, *reading.companions.values()]
    sets = [one.sets for one in held if one.sets is not None]
    found, names = combined(sets, reading.names)
    made = iter(found)
    coded = []
    for one in held:
        labels, decisions = next(made) if one.sets is not None else (one.labels, one.predictions)
        coded.append(replace(one, labels=labels, predictions=decisions, sets=None, costs=None))
    classifier = reading.classifier.of_label(0)
    classifier.class_names = names or classifier.class_names
    return replace(
        reading,
        images=coded[0],
        companions=dict(zip(reading.companions, coded[1:], strict=True)),
        classifier=classifier,
    )


def _without_labels(reading: CheckInput) -> CheckInput:
    return replace(
        reading,
        images=replace(reading.images, sets=None),
        companions={name: replace(one, sets=None) for name, one in reading.companions.items()},
    )


def _joined(check: Check, apart: Sequence[CheckResult], parts: Sequence[_Part], idle: Sequence[_Part]) -> CheckResult:
    metrics: dict[str, CheckFigure] = {}
    hypotheses: list[Hypothesis] = []
    findings: list[Finding] = []
    lists: dict[str, list[Mapping[str, object]]] = {}
    tables: dict[str, list[Mapping[str, object]]] = {}
    notes: dict[str, list[str]] = {}
    pictures: dict[str, bytes] = {}
    for one in apart:
        metrics |= one.metrics
        hypotheses += one.hypotheses
        findings += one.findings
        notes |= {note: [] for note in one.notes}
    for part in parts:
        found = part.conclusion
        metrics |= {
            figure_of_label(name, part.label, part.side): value
            for name, value in found.metrics.items()
            if part.side is None or not _of_one_severity(name)
        }
        hypotheses += [_named_hypothesis(one, part) for one in found.hypotheses]
        findings += [_named(one.model_copy(update={"harm": one.harm * part.share}), part) for one in found.findings]
        pictures |= found.pictures
        beside = {LABEL: part.label} | ({SIDE: part.side} if part.side else {})
        for kept, given in ((lists, found.lists), (tables, found.tables)):
            for name, rows in given.items():
                kept.setdefault(name, []).extend({**beside, **row} for row in rows)
        for note in found.notes:
            notes.setdefault(note, []).append(part.label)
    return CheckResult(
        metrics=metrics,
        hypotheses=hypotheses,
        findings=findings,
        panels=[*(panel for one in apart for panel in one.panels), *_panels(parts)],
        lists=lists,
        tables=tables,
        pictures=pictures,
        notes=[*_notes(notes, {part.label for part in parts}), *_idle(check, idle)],
    )


def figure_of_label(name: str, label: str, side: Side | None = None) -> str:
    """Name of a figure of a check, of one label.

    >>> figure_of_label("calibration.ece", "effusion"), figure_of_label("corruption.fog.error", "effusion", "present")
    ('calibration.effusion.ece', 'corruption.effusion.present.fog.error')
    """
    check, _, rest = name.partition(".")
    return ".".join([check, label, *([side] if side else []), rest])


def _of_one_severity(name: str) -> bool:
    """Whether a figure is of one severity of a corruption: with many labels, means over severities are enough."""
    return name.startswith("corruption.") and name.endswith(".accuracy")


def figure_names_by_label(check: Check, labels: Sequence[str]) -> frozenset[str] | None:
    """Every name of a figure that a check may give of these labels; None where only the first part is known."""
    if check.several is None:
        return frozenset()
    if isinstance(check, Labels):
        each = (f"{check.name}.{label}.{name}" for label in labels for name in OF_EACH)
        return frozenset({*(f"{check.name}.{name}" for name in OVERALL), *each})
    names = check.figure_names()
    if names is None or check.several == "whole":
        return names
    sides: tuple[Side | None, ...] = ("present", "absent") if check.several == "sides" else (None,)
    kept = [name for name in names if check.several != "sides" or not _of_one_severity(name)]
    return frozenset(figure_of_label(name, label, side) for name in kept for label in labels for side in sides)


def subject_of_label(subject: str, label: str, side: Side | None) -> str:
    """What a finding of a label is about; the same in every run.

    >>> subject_of_label("fog", "effusion", "present"), subject_of_label("", "effusion", None)
    ('effusion present: fog', 'effusion')
    """
    start = f"{label} {side}" if side else label
    return f"{start}: {subject}" if subject else start


def _named_hypothesis(one: Hypothesis, part: _Part) -> Hypothesis:
    return Hypothesis(
        one.p_value,
        lambda confidence: one.harm(confidence) * part.share,
        lambda harm: _named(one.finding(harm), part),
    )


def _named(finding: Finding, part: _Part) -> Finding:
    title = finding.title
    if part.side is not None and "accuracy" in title:
        title = title.replace("accuracy", WORDS[part.side])
    elif part.side is not None:
        title = f"{CONDITIONS[part.side]}, {title[:1].lower() + title[1:]}"
    beside = {LABEL: part.label} | ({SIDE: part.side} if part.side else {})
    return finding.model_copy(
        update={
            "subject": subject_of_label(finding.subject, part.label, part.side),
            "title": f"{part.label}: {title}",
            "facts": {**beside, **finding.facts},
            # What treats a classifier of one class an image is no treatment here.
            "treatments": tuple(one for one in finding.treatments if one.startswith("look through")),
        }
    )


def _panels(parts: Sequence[_Part]) -> list[Panel]:
    """Tables of one head as one with a column for the label; curves for each label; pictures in one panel."""
    found: dict[object, Panel] = {}
    for part in parts:
        label = part.label if part.side is None else f"{part.label}, {part.side}"
        for panel in part.conclusion.panels:
            if panel.lines:
                found[panel.title, label] = panel.model_copy(update={"title": f"{label}: {panel.title}"})
                continue
            key = (panel.title, panel.head, bool(panel.heat))
            known = found.get(key)
            rows = (*(known.rows if known else ()), *((label, *row) for row in panel.rows))
            heat = (
                *(known.heat if known else ()),
                *(one.model_copy(update={"title": f"{label}: {one.title}"}) for one in panel.heat),
            )
            head = ("label", *panel.head) if panel.head else ()
            found[key] = panel.model_copy(update={"head": head, "rows": rows, "heat": heat})
    return list(found.values())


def _notes(notes: Mapping[str, Sequence[str]], labels: set[str]) -> list[str]:
    """Each note once, with the labels that it is of where these are not all."""
    return [
        note if not of or set(of) == labels else f"{listed_names(list(dict.fromkeys(of)), _NAMED)}: {note}"
        for note, of in notes.items()
    ]


def _idle(check: Check, idle: Sequence[_Part]) -> list[str]:
    reasons: dict[str, list[str]] = {}
    for part in idle:
        reasons.setdefault(str(part.conclusion.skipped), []).append(
            part.label if part.side is None else f"{part.label} ({part.side})"
        )
    return [
        f"Check {check.name} leaves out {listed_names(labels, _NAMED)}: {reason}." for reason, labels in reasons.items()
    ]
