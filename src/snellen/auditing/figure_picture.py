"""Figures of a report beside the evidence that they come from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from snellen.auditing.by_label import LABEL
from snellen.auditing.checks import CHECKS
from snellen.auditing.eye_chart_picture import column_words
from snellen.checks.check import Check, CheckFigure
from snellen.checks.panels import Line, Panel, Point
from snellen.core import index
from snellen.core.finding import KINDS, STRESS, Finding

#: What the figures that lead the page are called.
LEADING: dict[str, str] = {
    "clean.accuracy": "clean accuracy",
    "segmentation.miou": "mean overlap (mIoU)",
    "labels.macro_auroc": "area under the ROC curve, mean over labels",
    "labels.macro_f1": "F1, mean over labels",
    "labels.exact_match": "images with all labels right",
    "bags.auroc": "area under the ROC curve, bags",
    "calibration.ece": "calibration error",
    "corruption.mce": "mean corruption error",
    "corruption.error": "error under corruption",
}

#: Checks that compare with other images, whose evidence lies in a folder of their own.
COMPARING = frozenset({"drift", "leakage", "membership"})


@dataclass(frozen=True)
class ReportFigure:
    """One figure: its name, value and interval, where its evidence lies, and its place in the page."""

    name: str
    measured: CheckFigure
    evidence: str
    setting: str
    anchor: str


@dataclass(frozen=True)
class LeadingFigure:
    """A figure at the head of the page, in words."""

    words: str
    figure: ReportFigure


def figures_with_evidence(metrics: Mapping[str, CheckFigure]) -> list[ReportFigure]:
    """All figures in the order of the report."""
    return [
        ReportFigure(name, measured, *evidence_of(name), anchor=f"figure-{number}")
        for number, (name, measured) in enumerate(metrics.items(), start=1)
    ]


def evidence_of(metric: str) -> tuple[str, str]:
    """File of the run, and setting in it, that a figure is computed from.

    >>> evidence_of("corruption.fog.3.accuracy"), evidence_of("calibration.ece")
    (('evidence/corruption.parquet', 'fog.3'), ('evidence/clean.parquet', 'clean'))
    >>> evidence_of("corruption.clean_error")
    ('evidence/clean.parquet', 'clean')
    >>> evidence_of("corruption.fog.error"), evidence_of("corruption.error")
    (('evidence/corruption.parquet', 'fog, all severities'), ('evidence/corruption.parquet', 'all settings'))
    """
    check, _, rest = metric.partition(".")
    setting, _, what = rest.rpartition(".")
    if check in index.checks() and index.checks()[check].listed:
        return f"lists/{check}.json", "each image"
    if rest.startswith("generated_"):
        return f"lists/{check}_generated.json", "each trajectory"
    if not _measures(check) or what.startswith("clean"):
        return "evidence/clean.parquet", "clean"
    if what == "accuracy" and setting:
        return f"evidence/{check}.parquet", setting
    return f"evidence/{check}.parquet", f"{setting}, all severities" if setting else "all settings"


def finding_evidence(finding: Finding, figures: Sequence[ReportFigure]) -> tuple[str, ReportFigure | None]:
    """Where the rows behind a finding are, in words, and the figure to read first."""
    if LABEL in finding.facts and finding.kind in index.checks()["labels"].finds:
        label = f"labels.{finding.facts[LABEL]}."
        return "evidence/clean.parquet, setting clean", next(
            (one for one in figures if one.name.startswith(label)), None
        )
    of_pixels = [one for one in figures if one.name.startswith("segmentation.")]
    if of_pixels:
        first = next((one for one in of_pixels if finding.subject and f".{finding.subject}." in one.name), of_pixels[0])
        changed = finding.kind in STRESS
        which = f"settings that begin with {finding.subject}" if changed else "setting unchanged"
        return f"evidence/segmentation.parquet, {which}", first
    check = next((one.name for one in index.checks().values() if finding.kind in one.finds), finding.kind)
    if check in index.checks() and index.checks()[check].listed:
        return f"lists/{check}.json", next((one for one in figures if one.name.startswith(f"{check}.")), None)
    if finding.kind in KINDS and not (check in CHECKS and _measures(check)):
        own = [one for one in figures if one.name.startswith(f"{check}.")]
        beside = ", and the same of the images compared with" if check in COMPARING else ""
        return f"evidence/clean.parquet, setting clean{beside}", next(iter(own or figures), None)
    prefix = f"{finding.subject}." if finding.subject else ""
    if prefix.startswith("generated_"):
        own = [one for one in figures if one.name.startswith(f"{check}.{prefix}")]
        return f"lists/{check}_generated.json", next(iter(own), None)
    own = [one for one in figures if one.name.startswith(f"{check}.{prefix}")]
    named = any(one.setting == finding.subject or one.setting.startswith(prefix) for one in own)
    which = f"settings that begin with {finding.subject}" if named and finding.subject else "all settings"
    return f"evidence/{check}.parquet, {which}", next(iter(own), None)


def leading_figures(figures: Sequence[ReportFigure]) -> list[LeadingFigure]:
    """The few figures that lead the page: how right, how sure, and the worst of each kind of disturbance."""
    by_name = {figure.name: figure for figure in figures}
    chosen = [LeadingFigure(words, by_name[name]) for name, words in LEADING.items() if name in by_name]
    if "corruption.mce" in by_name:
        chosen = [one for one in chosen if one.figure.name != "corruption.error"]
    if "labels.right_decisions" in by_name:
        areas = [one for one in figures if one.name.startswith("labels.") and one.name.endswith(".auroc")]
        lowest = min(areas, key=lambda one: one.measured.value, default=None)
        if lowest is not None:
            label = lowest.name.removeprefix("labels.").removesuffix(".auroc")
            chosen.append(LeadingFigure(f"lowest area of a label: {label}", lowest))
        return chosen
    for check, words in (("corruption", "accuracy, worst corruption"), ("adversarial", "accuracy, worst threat")):
        found = [one for one in figures if one.name.startswith(f"{check}.") and one.name.endswith(".accuracy")]
        if found:
            worst = min(found, key=lambda one: one.measured.value)
            name = worst.name.removeprefix(f"{check}.").removesuffix(".accuracy").removesuffix(".fgsm")
            kind, _, severity = name.rpartition(".") if check == "corruption" else (name, "", "")
            at = f", severity {severity}" if severity else ""
            chosen.append(LeadingFigure(f"{words}: {column_words(kind, check)}{at}", worst))
    return chosen


def severity_panels(metrics: Mapping[str, CheckFigure], chance: float) -> list[Panel]:
    """Accuracy over severity, one panel for each corruption, with the level of guessing dashed."""
    points: dict[str, list[Point]] = {}
    for name, figure in metrics.items():
        if name.startswith("corruption.") and name.endswith(".accuracy"):
            kind, _, severity = name.removeprefix("corruption.").removesuffix(".accuracy").partition(".")
            points.setdefault(kind, []).append(
                Point(x=float(severity), y=figure.value, low=figure.low, high=figure.high)
            )
    panels = []
    for kind, found in points.items():
        ordered = tuple(sorted(found, key=lambda point: point.x))
        ends = tuple(dict.fromkeys((ordered[0].x, ordered[-1].x)))
        guessing = Line(name="guessing", points=tuple(Point(x=end, y=chance) for end in ends), reference=True)
        panels.append(
            Panel(
                check="corruption",
                title=kind.replace("_", " "),
                x_label="severity",
                y_label="accuracy",
                lines=(Line(name="accuracy", points=ordered), guessing),
            )
        )
    return panels


def _measures(check: str) -> bool:
    """Whether a check writes evidence of its own; a check that is not known here does."""
    return check not in CHECKS or CHECKS[check].measure is not Check.measure
