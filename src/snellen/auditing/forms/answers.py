"""What an audit answers: its figures with their intervals, its findings, its data and its tools, in words."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from snellen.auditing.document import harm_words
from snellen.auditing.figure_picture import figures_with_evidence, leading_figures
from snellen.auditing.forms.form import Answer, Source
from snellen.core.finding import KINDS
from snellen.core.run import read_manifest
from snellen.data.rejections import listed_reasons

if TYPE_CHECKING:
    from snellen.auditing.report import AuditReport, CheckStatus
    from snellen.checks.check import CheckFigure

#: Figures and findings that are listed; all of them are in the report.
_MOST = 12

#: Findings that take the meaning from figures of performance, and stand beside them.
_DOUBTS = ("in_sample", "class_order")

#: What a model returns, in words.
_OUTPUTS = {
    "logits": "logits, read as probabilities by softmax or sigmoid",
    "log-probabilities": "logarithms of probabilities",
    "labels": "labels, without probabilities",
}

#: What the outputs of a model decide, in words.
_TASKS = {
    "single": "one class an image",
    "ordinal": "one of several ordered grades an image",
    "multilabel": "several labels an image",
    "segment": "the class of each pixel",
}


def model(report: AuditReport) -> Answer:
    """Name, decision, classes, preprocessing and hash of the model, and what was assumed about it."""
    about = report.model
    lines = [f"{about['name']}; identity (hash of the weights): {about.get('identity') or 'not hashable'}."]
    task = _TASKS.get(str(about.get("task")))
    lines.append(
        f"It decides {task}, of {about['classes']} classes." if task else f"It has {about['classes']} classes."
    )
    if about.get("preprocessing"):
        lines.append(f"Preprocessing: {about['preprocessing']}.")
    return Answer((*lines, *(f"Assumed: {note}." for note in about.get("notes", ()))))


def output(report: AuditReport) -> Answer:
    """What the model returns."""
    words = _OUTPUTS.get(str(report.model.get("output")))
    return (
        Answer((f"The model returns {words}.",)) if words else Answer(("the kind of output was not recorded",), False)
    )


def preprocessing(report: AuditReport) -> Answer:
    """How images are prepared for the model."""
    said = report.model.get("preprocessing")
    return Answer((f"{said}.",)) if said else Answer(("the model does not say how its images are prepared",), False)


def data(report: AuditReport) -> Answer:
    """Name, size, units and fingerprint of the audited images."""
    about = report.data
    drawn = f", drawn at random from {about['drawn_from']}" if about.get("drawn_from") else ""
    return Answer(
        (
            f"{about['name']}: {about['used']} of {about['images']} images used{drawn}, in {about['units']} "
            f"independent units; fingerprint {about['fingerprint']}.",
        )
    )


def rejected(report: AuditReport) -> Answer:
    """Images that could not be used, with the reasons."""
    count = report.data.get("rejected", 0)
    if not count:
        return Answer(("No image was rejected as unusable.",))
    why = listed_reasons(report.data.get("rejected_reasons", {}))
    return Answer((f"{count} of {report.data['images']} images were rejected as unusable{f': {why}' if why else ''}.",))


def software(report: AuditReport) -> Answer:
    """Versions, seed and device of the audit; what ran the training is not known to it."""
    if report.folder is None or not (report.folder / "manifest.json").is_file():
        return Answer(("versions of the audit's software: its run directory was not kept",), False)
    try:
        plan = read_manifest(report.folder)
        versions = ", ".join(f"{name} {version}" for name, version in sorted(plan["versions"].items()))
        return Answer((f"Audit: {versions}; seed {plan['seed']}; device {plan['device']}.",))
    except (OSError, ValueError, LookupError, AttributeError) as error:
        why = f"manifest.json in its run directory cannot be read ({type(error).__name__}: {error})"
        return Answer((f"versions of the audit's software: {why}",), False)


def performance(report: AuditReport) -> Answer:
    """The leading figures with their 95 % intervals."""
    chosen = leading_figures(figures_with_evidence(report.metrics))
    lines = [_figure_words(f"{one.words} ({one.figure.name})", one.figure.measured) for one in chosen]
    doubts = [row for row, one in enumerate(report.findings) if one.kind in _DOUBTS]
    lines += [_finding_words(report, row) for row in doubts]
    return Answer(tuple(lines)) if lines else Answer(("no labelled image was judged",), False)


def statistics(report: AuditReport) -> Answer:
    """How uncertainty was computed."""
    tested = report.tested
    return Answer(
        (
            f"95 % intervals over {report.data['units']} independent units; {tested.hypotheses} hypotheses were tested "
            f"together, {tested.findings} became findings at a false discovery rate of {tested.rate:.0%}.",
        )
    )


def power(report: AuditReport) -> Answer:
    """How small a problem the audit would have seen."""
    lines = tuple(f"Nine of ten audits of this size would find {one}." for one in report.sight)
    return Answer(lines) if lines else Answer(("no check states what it could have found",), False)


def findings(report: AuditReport) -> Answer:
    """Where the model fails, worst first."""
    if not report.findings:
        return Answer((report.nothing_found,), bool(report.metrics))
    return Answer(_first([_finding_words(report, row) for row in range(len(report.findings))]))


def not_run(report: AuditReport) -> Answer:
    """Checks that were skipped or failed, with the reasons."""
    lines = [_state(one) for one in report.checks if one.status != "done"]
    return Answer(_first([f"{line[0].upper()}{line[1:]}." for line in lines]) or ("All chosen checks ran.",))


def by_check(check: str, *patterns: str, kinds: tuple[str, ...] = ()) -> Source:
    """What one check found: figures of some names, findings of some kinds, or why it did not run.

    Args:
        check: its name.
        patterns: of the names of figures; none: no figures.
        kinds: of findings.
    """
    return _ByCheck(check, patterns, kinds)


class _ByCheck:
    def __init__(self, check: str, patterns: tuple[str, ...], kinds: tuple[str, ...]) -> None:
        self._check, self._patterns, self._kinds = check, patterns, kinds

    def __call__(self, report: AuditReport) -> Answer:
        words = self._check.replace("_", " ")
        status = next((one for one in report.checks if one.name == self._check), None)
        if status is None:
            return Answer((f"the check {words} did not run",), False)
        if status.status != "done":
            return Answer((_state(status),), False)
        lines = [
            _figure_words(name, figure)
            for name, figure in report.metrics.items()
            if any(fnmatchcase(name, pattern) for pattern in self._patterns)
        ]
        found = [row for row, one in enumerate(report.findings) if one.kind in self._kinds]
        lines = [*_first(lines), *_first([_finding_words(report, row) for row in found])]
        if not found and self._kinds:
            lines.append(
                f"The check {words} found nothing significant ({'; '.join(KINDS[one] for one in self._kinds)})."
            )
        return Answer(tuple(lines) or (f"The check {words} ran; its tables are in the report.",))


def robustness(report: AuditReport) -> Answer:
    """The severity of each damage up to which the model still reads."""
    chart = report.eye_chart
    if chart is None:
        return by_check("corruption", "corruption.error", kinds=("corruption",))(report)
    lines = []
    for column in chart.columns:
        if column.acuity is not None:
            sign = "at least " if column.acuity.censored else ""
            lines.append(
                f"{column.name}: reads to severity {sign}{column.acuity.value:.2f} of 5 "
                f"(95 % interval {column.acuity.low:.2f} to {column.acuity.high:.2f})."
            )
    return Answer(tuple(lines)) if lines else Answer(("no damage was measured at several severities",), False)


def _first(lines: Sequence[str]) -> tuple[str, ...]:
    """The first lines, and how many more there are."""
    more = [f"And {len(lines) - _MOST} more in the report."] if len(lines) > _MOST else []
    return (*lines[:_MOST], *more)


def _state(check: CheckStatus) -> str:
    why = check.reason or "no reason was given"
    return f"the check {check.name.replace('_', ' ')} {'failed' if check.status == 'failed' else 'was skipped'}: {why}"


def _figure_words(name: str, figure: CheckFigure) -> str:
    return f"{name}: {figure.value:.4f} (95 % interval {figure.low:.4f} to {figure.high:.4f}, n = {figure.n})."


def _finding_words(report: AuditReport, row: int) -> str:
    finding = report.findings[row]
    return f"{finding.title} ({finding.shown_level}; harm: {harm_words(finding)}; at 95 % confidence)."


#: Answers that several forms share.
adversarial = by_check("adversarial", "adversarial.*.accuracy", kinds=("adversarial",))
calibration = by_check("calibration", "calibration.ece", "calibration.brier", "calibration.nll", kinds=("calibration",))
discrimination = by_check("discrimination", "discrimination.*")
groups = by_check("group_gap", "group_gap.*", kinds=("group_gap",))
hidden_groups = by_check("slices", kinds=("slice",))
classes = by_check("clean", "clean.balanced_accuracy", kinds=("unanswered_classes", "worst_class"))
labels = by_check("label_noise", "label_noise.share", kinds=("label_noise",))
copies = by_check("duplicates", kinds=("duplicate",))
leakage = by_check("leakage", kinds=("leakage",))
drift = by_check("drift", "drift.auroc", kinds=("drift",))
quality = by_check("data_quality", kinds=("data_quality",))
background = by_check("background", kinds=("background_shortcut", "background_sensitivity"))
heat_maps = by_check("explanations")
