"""A report as a document without script: what Markdown and PDF have in common, in words and plain tables."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING

from PIL import Image

from snellen.auditing.advice import advised, whole_command
from snellen.auditing.eye_chart_picture import acuity_words, column_words
from snellen.auditing.figure_picture import figures_with_evidence, leading_figures
from snellen.auditing.html import fact_words, has_harm, verdict
from snellen.auditing.ledger import ledger_words
from snellen.checks.treatments import STAND_FOR, in_python
from snellen.core.finding import FIGURES_OF_BAGS, OF_BAGS, Finding
from snellen.data.rejections import listed_reasons

if TYPE_CHECKING:
    from snellen.auditing.report import AuditReport
    from snellen.checks.check import CheckFigure
    from snellen.checks.eye_chart import Column, EyeChart

#: What the table of the eye chart shows.
EYE_CHART = (
    "Accuracy above chance that is retained at each severity, in percent. In brackets: not read, because the lower end "
    "of the 95 % interval is under 80 %."
)

#: Height of the pictures of an example, pixels; smaller ones are enlarged with sharp pixels.
HEIGHT = 112

#: Blank between a picture as it is and the same changed, pixels.
_GAP = 4


#: Check and title of the table of labels.
LABELS = ("labels", "Labels")

#: What the table of labels under damage shows.
DAMAGE = (
    "Errors on the images that have a label, where it is missed, and on those without it, where it is given. Under "
    "damage, it is the mean over kinds and severities. Each kind is in report.json."
)

#: Figure of a kind of damage on the images with or without a label; kinds have no dots, and labels may.
_OF_A_KIND = re.compile(r"corruption\.(?P<label>.+)\.(?P<side>present|absent)\.(?P<kind>[^.]+)\.error")

_SIDES = {"present": "with it", "absent": "without it"}


@dataclass(frozen=True)
class TextTable:
    """A table of texts: a head, and rows of as many cells."""

    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Document:
    """The parts of a report in the order in which they are read.

    Attributes:
        title: name of the model.
        lines: data, preprocessing, what the loader assumed.
        verdict: counts of findings, and the weakest column of the eye chart.
        leading: the figures that matter most.
        labels: of several labels an image: the figures of each; None where an image has one class.
        damage: the same under damage, images with the label and those without it; None without any.
        eye_chart: accuracy that is retained, in percent, a row for each disturbance; None without one.
        tested: how many hypotheses became findings.
        treatment: what can be treated: findings, what is at stake, treatments, their cost; None where nothing can.
        treat_all: the command that treats all of it, in the folder of the report; None where there is none.
        checks: what did not run, one line each.
        figures: all other figures; the accuracies of corruptions at each severity are in the eye chart, and of several
            labels each kind of damage in ``report.json`` alone.
        notes: how to read the figures.
        provenance: what identifies model and data.
    """

    title: str
    lines: tuple[str, ...]
    verdict: str
    leading: TextTable
    labels: TextTable | None
    damage: TextTable | None
    eye_chart: TextTable | None
    tested: str
    treatment: TextTable | None
    treat_all: str | None
    checks: tuple[str, ...]
    figures: TextTable
    notes: tuple[str, ...]
    provenance: TextTable


def document_of(report: AuditReport) -> Document:
    """The document of a report."""
    figures = figures_with_evidence(report.metrics)
    leading = [
        (one.words, *_percent(one.figure.measured.value, one.figure.measured.low, one.figure.measured.high))
        for one in leading_figures(figures)
    ]
    labels = next((one for one in report.panels if (one.check, one.title) == LABELS and one.rows), None)
    rest = [
        (
            name,
            f"{figure.value:.4f}",
            f"{figure.low:.4f} – {figure.high:.4f}",
            f"{figure.n} bags" if name in FIGURES_OF_BAGS else f"{figure.n}",
        )
        for name, figure in report.metrics.items()
        if not (report.eye_chart and name.startswith("corruption.") and name.endswith(".accuracy"))
        and not (labels is not None and _OF_A_KIND.fullmatch(name))
    ]
    tested = report.tested
    return Document(
        title=f"Audit of {report.model['name']}",
        lines=tuple(_lines(report)),
        verdict=verdict(report),
        leading=TextTable(("figure", "value", "95 % interval"), tuple(leading)),
        labels=None if labels is None else TextTable(tuple(labels.head), _texts(labels.rows)),
        damage=None if labels is None else _damage(report.metrics, [str(row[0]) for row in labels.rows]),
        eye_chart=None if report.eye_chart is None else _eye_chart(report.eye_chart),
        tested=f"{tested.hypotheses} hypotheses were tested together; {tested.findings} became findings at a false "
        f"discovery rate of {tested.rate:.0%}. Harm is the share of the data lost, at 95 % confidence."
        + unseen_words(report.sight),
        treatment=_treatment(report.findings, several=report.model.get("task") == "multilabel"),
        treat_all=whole_command(report.findings),
        checks=tuple(
            f"{check.name.replace('_', ' ')} {check.status}: {check.reason or 'no reason was given'}"
            for check in report.checks
            if check.status != "done"
        ),
        figures=TextTable(("figure", "value", "95 % interval", "images"), tuple(rest)),
        notes=report.notes,
        provenance=TextTable(
            ("", ""),
            (
                ("model identity", str(report.model.get("identity") or "not hashable")),
                ("data fingerprint", str(report.data["fingerprint"])),
                ("independent units", str(report.data["units"])),
            ),
        ),
    )


def _texts(rows: Sequence[Sequence[object]]) -> tuple[tuple[str, ...], ...]:
    return tuple(tuple("" if cell is None else str(cell) for cell in row) for row in rows)


def _damage(metrics: Mapping[str, CheckFigure], labels: Sequence[str]) -> TextTable | None:
    """Errors on the images with each label and without it: a row for each, with the kind that is worst."""
    worst: dict[tuple[str, str], tuple[float, str]] = {}
    for name, figure in metrics.items():
        found = _OF_A_KIND.fullmatch(name)
        if found is not None and found["kind"] != "clean":
            place = (found["label"], found["side"])
            worst[place] = max(worst.get(place, (-1.0, "")), (figure.value, found["kind"]))
    rows = []
    for label, side in product(labels, _SIDES):
        error, kind = worst.get((label, side), (0.0, ""))
        start = f"corruption.{label}.{side}"
        clean, mean = metrics.get(f"{start}.clean_error"), metrics.get(f"{start}.error")
        if clean is not None and mean is not None:
            rows.append(
                (
                    f"{label}, {_SIDES[side]}",
                    f"{mean.n}",
                    f"{clean.value:.1%}",
                    f"{mean.value:.1%}",
                    f"{mean.low:.1%} – {mean.high:.1%}",
                    f"{kind.replace('_', ' ')} {error:.1%}" if error > clean.value else "none is worse",
                )
            )
    head = ("label", "images", "error", "under damage", "95 % interval", "worst kind")
    return TextTable(head, tuple(rows)) if rows else None


def _treatment(findings: Sequence[Finding], *, several: bool) -> TextTable | None:
    rows = [
        (
            f"{one.kind.replace('_', ' ')} ({one.findings})",
            f"{one.at_stake:.1%}",
            ", ".join(one.treatments),
            f"{one.passes:.0f}" if one.passes >= 1 else "under 1",
        )
        for one in advised(findings, several=several)
    ]
    head = ("findings", "images at stake", "tried in this order", "passes over 5,000 training images, about")
    return TextTable(head, tuple(rows)) if rows else None


def treat_all_words(command: str, shown: str) -> list[str]:
    """How all findings are treated, in one sentence, and others where the command has placeholders.

    Args:
        command: of the whole report.
        shown: the same as it is printed.
    """
    words = [f"All of it, in the folder of this report: {shown}"]
    words += [f"{name} stands for {what}." for name, what in STAND_FOR.items() if name in command]
    if lines := in_python(command):
        words.append(f"In Python the report knows its objects: {'; '.join(lines.splitlines())}")
    return words


def unseen_words(sight: Sequence[str]) -> str:
    """What the checks that found nothing would have found, as a sentence that follows another; empty without any.

    >>> unseen_words(["a class that is worse by 9 points"])
    ' Not found, though nine of ten audits would find it: a class that is worse by 9 points.'
    """
    return f" Not found, though nine of ten audits would find it: {'; '.join(sight)}." if sight else ""


def harm_words(finding: Finding) -> str:
    """Harm and p value of a finding.

    >>> harm_words(Finding(kind="drift", harm=0.1, p_value=0.01, title=""))
    'at least 10.0% of the images, p = 0.01'
    >>> harm_words(Finding(kind="drift", harm=0, title=""))
    'none that is certain'
    """
    of = "bags" if finding.kind in OF_BAGS else "images"
    words = f"at least {finding.harm:.1%} of the {of}" if has_harm(finding) else "none that is certain"
    if finding.p_value is None:
        return words
    p = "p below 0.0001" if finding.p_value < 0.0001 else f"p = {fact_words(finding.p_value)}"
    return f"{words}, {p}"


def facts_words(finding: Finding) -> str:
    """The figures behind a finding, in one line.

    >>> facts_words(Finding(kind="drift", harm=0, title="", facts={"mean_drop": 0.25, "worst": "fog"}))
    'mean drop 0.25; worst fog'
    """
    return "; ".join(f"{key.replace('_', ' ')} {fact_words(value)}" for key, value in sorted(finding.facts.items()))


def treatment_words(treatment: str, shown: str) -> str:
    """What treats a finding, as a sentence.

    >>> treatment_words("keep one image of each group", "keep one image of each group")
    'Keep one image of each group.'

    Args:
        treatment: a command, or what to do.
        shown: the same as it is printed.
    """
    if treatment.startswith("snellen "):
        return f"Treat, in the folder of this report: {shown}"
    return f"{shown[:1].upper()}{shown[1:]}."


def example_picture(names: Sequence[str | None], pictures: Mapping[str, bytes]) -> Image.Image | None:
    """The picture of an example, as it is and changed side by side: RGB, :data:`HEIGHT` high; None without any."""
    files = [pictures[name] for name in names if name is not None and name in pictures]
    shown = [_scaled(Image.open(io.BytesIO(file)).convert("RGB")) for file in files]
    if not shown:
        return None
    width = sum(one.width for one in shown) + _GAP * (len(shown) - 1)
    sheet = Image.new("RGB", (width, HEIGHT), "white")
    left = 0
    for one in shown:
        sheet.paste(one, (left, 0))
        left += one.width + _GAP
    return sheet


def _scaled(picture: Image.Image) -> Image.Image:
    width = max(round(picture.width * HEIGHT / picture.height), 1)
    sharp = picture.height < HEIGHT
    return picture.resize((width, HEIGHT), Image.Resampling.NEAREST if sharp else Image.Resampling.LANCZOS)


def _lines(report: AuditReport) -> list[str]:
    data, model = report.data, report.model
    drawn = f", drawn at random from {data['drawn_from']}" if data.get("drawn_from") else ""
    lines = [f"On {data['name']}: {data['used']} of {data['images']} images used{drawn}."]
    if data["rejected"]:
        why = listed_reasons(data.get("rejected_reasons", {}))
        lines.append(f"{data['rejected']} images rejected{f': {why}' if why else ''}.")
    for name, reasons in data.get("unread", {}).items():
        kind = "training" if name == "train" else "validation"
        lines.append(
            f"{sum(reasons.values())} {kind} images rejected: {listed_reasons(reasons)}; see {name}/rejected.json."
        )
    if "ledger" in data:
        lines.append(ledger_words(data["ledger"]))
    if "preprocessing" in model:
        lines.append(f"Preprocessing: {model['preprocessing']}.")
    return [*lines, *(f"{note[:1].upper()}{note[1:]}." for note in model["notes"])]


def _percent(value: float, low: float, high: float) -> tuple[str, str]:
    return f"{value:.1%}", f"{low:.1%} – {high:.1%}"


def _eye_chart(chart: EyeChart) -> TextTable:
    """A row for each column of the chart, the weakest first; what cannot be read is in brackets."""
    checks = list(dict.fromkeys(column.check for column in chart.columns))

    def order(column: Column) -> tuple[int, float]:
        reached = column.cells[-1].retained if column.acuity is None else column.acuity.value
        return checks.index(column.check), reached

    rows = []
    for column in sorted(chart.columns, key=order):
        cells = {cell.severity: cell for cell in column.cells}
        shares = []
        for severity in chart.severities:
            cell = cells.get(severity)
            share = "" if cell is None else f"{100 * max(cell.retained, 0.0):.0f}"
            shares.append(share if cell is None or cell.read else f"({share})")
        reached, interval = ("one size", "") if column.acuity is None else acuity_words(column.acuity)
        rows.append((column_words(column.name, column.check), *shares, reached, interval))
    severities = tuple(f"{severity:g}" for severity in chart.severities)
    return TextTable(("disturbance", *severities, "reads to", "95 % interval"), tuple(rows))
