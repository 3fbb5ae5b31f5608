"""report.html: one self-contained file that opens from disk, offline, under a strict content security policy."""

from __future__ import annotations

import base64
import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING

from jinja2 import Environment, FunctionLoader, StrictUndefined
from markupsafe import Markup

from snellen.auditing.advice import advised, whole_command
from snellen.auditing.eye_chart_picture import acuity_words, column_words, eye_chart_picture
from snellen.auditing.figure_meanings import meanings_of
from snellen.auditing.figure_picture import (
    figures_with_evidence,
    finding_evidence,
    leading_figures,
    severity_panels,
)
from snellen.auditing.finding_picture import (
    PICTURE_BYTES,
    arrange_findings,
    embed_heat,
    embed_pictures,
    heat_scale,
    picture_groups,
)
from snellen.auditing.ledger import ledger_words
from snellen.checks.charts import line_chart
from snellen.checks.eye_chart import EyeChart
from snellen.checks.treatments import STAND_FOR, in_python
from snellen.core import package
from snellen.core.finding import FIGURES_OF_BAGS, LEVELS, OF_BAGS, Finding
from snellen.data.rejections import listed_reasons

if TYPE_CHECKING:
    from snellen.auditing.report import AuditReport

#: Names of rejected images that are listed; the rest is in rejected.json.
LISTED = 50

#: Rows of a table that are listed; the rest is in report.json.
ROWS = 200

#: Columns of an eye chart beside which the leading figures still have room.
BESIDE = 18


def render_report(
    report: AuditReport,
    pictures: Mapping[str, bytes],
    rejected: Sequence[Mapping[str, str]],
    *,
    picture_bytes: int = PICTURE_BYTES,
) -> str:
    """Render the report; every name in it is data and is escaped.

    Args:
        report: what was found.
        pictures: WebP files by the names that examples give.
        rejected: id and reason of each image that could not be used.
        picture_bytes: budget of the pictures, as base64; the findings of least harm go without first.
    """
    style = _text("parts.css") + _text("report.css")
    script = _text("report.js")
    page = (
        _environment()
        .get_template("report.html.j2")
        .render(
            **_parts(report, pictures, picture_bytes),
            style=Markup(style),  # noqa: S704 - our own file
            style_hash=content_hash(style),
            script=Markup(script),  # noqa: S704 - our own file
            script_hash=content_hash(script),
            severity_panels=severity_panels(report.metrics, 1 / report.model["classes"]),
            heat_scale=heat_scale,
            small_chart=lambda panel: line_chart(panel, width=300, height=190),
            chart=line_chart,
            rows=ROWS,
            meanings=meanings_of(report.metrics),
            rejected=rejected[:LISTED],
            rejected_total=len(rejected),
        )
    )
    # A file name of undecodable bytes holds characters that UTF-8 cannot hold.
    return page.encode("utf-8", "replace").decode("utf-8")


def render_notebook(report: AuditReport, pictures: Mapping[str, bytes]) -> str:
    """The head of the report, its eye chart and its findings, for the output of a notebook cell: no script."""
    template = _environment().get_template("notebook.html.j2")
    style = Markup(_text("parts.css"))  # noqa: S704 - our own file
    page: str = template.render(**_parts(report, pictures, PICTURE_BYTES), style=style)
    return page.encode("utf-8", "replace").decode("utf-8")


def content_hash(text: str) -> str:
    """What a content security policy calls a style or a script by: base64 of its SHA-256."""
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def verdict(report: AuditReport) -> str:
    """What a reader in a hurry needs: how many findings of each level, the first one, and the weakest disturbance."""
    levels = Counter(finding.level for finding in report.findings)
    counts = [f"{levels[level]} {level}" for level in LEVELS if levels[level] and level != "note"]
    if counts:
        counted = counts[0] if len(counts) == 1 else f"{', '.join(counts[:-1])} and {counts[-1]}"
        serious = [finding for finding in report.findings if finding.level != "note"]
        sentences = [f"{counted} finding{'' if len(serious) == 1 else 's'}. First: {serious[0].title}."]
    else:
        sentences = [report.nothing_found]
    if report.eye_chart is not None:
        sentences += _sight(report.eye_chart)
    return " ".join(sentences)


def _sight(chart: EyeChart) -> list[str]:
    measured = [column for column in chart.columns if column.acuity is not None]
    unread = [column for column in measured if column.acuity is not None and not column.acuity.censored]
    if not measured:
        return []
    if not unread:
        return ["It reads every line of the eye chart." if len(measured) > 1 else "It reads every line that was shown."]
    weakest = min(unread, key=lambda column: column.acuity.value if column.acuity else 0.0)
    assert weakest.acuity is not None
    value, interval = acuity_words(weakest.acuity)
    name, last = column_words(weakest.name, weakest.check), weakest.cells[-1].severity
    return [f"Weakest against {name}: reads to severity {value} of {last:g}{f' ({interval})' if interval else ''}."]


def _parts(report: AuditReport, pictures: Mapping[str, bytes], picture_bytes: int) -> dict[str, object]:
    """What the page and the notebook share."""
    figures = figures_with_evidence(report.metrics)
    heat, left = embed_heat(report.panels, pictures, budget=picture_bytes)
    chart = report.eye_chart
    levels = Counter(finding.level for finding in report.findings)

    def evidence(finding: Finding) -> dict[str, object]:
        words, figure = finding_evidence(finding, figures)
        return {"words": words, "figure": figure}

    def harmed(finding: Finding) -> str:
        """Of what harm is a share."""
        if report.model.get("task") == "segment":
            return "mIoU"
        return "bags" if finding.kind in OF_BAGS else "images"

    return {
        "report": report,
        "verdict": verdict(report),
        "leading": leading_figures(figures),
        "figures": figures,
        "levels": {level: levels[level] for level in LEVELS if levels[level]},
        "eye_chart": None if chart is None else eye_chart_picture([(report.model["name"], chart)]),
        "wide": chart is not None and len(chart.columns) > BESIDE,
        "arranged": arrange_findings(report.findings),
        "heat": heat,
        "pictures": embed_pictures(report.findings, pictures, budget=left),
        "harmed": harmed,
        "figures_of_bags": FIGURES_OF_BAGS,
        "groups": picture_groups,
        "evidence": evidence,
        "advice": advised(report.findings, several=report.model.get("task") == "multilabel"),
        "treat_all": whole_command(report.findings),
        "treat_in_python": in_python(whole_command(report.findings) or ""),
        "stand_for": STAND_FOR,
        "reasons": listed_reasons,
    }


@cache
def _environment() -> Environment:
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, loader=FunctionLoader(_text)
    )
    environment.filters["percent"] = lambda value: f"{value:.1%}"
    environment.filters["fact"] = fact_words
    environment.tests["harmful"] = has_harm
    environment.globals["ledger_words"] = ledger_words
    environment.globals["in_python"] = in_python
    environment.filters["capitalize_first"] = lambda text: text[:1].upper() + text[1:]
    return environment


def has_harm(finding: Finding) -> bool:
    """Whether its harm is above zero as reports round it, to a tenth of a percent."""
    return round(finding.harm, 3) > 0


def fact_words(value: float | int | str) -> str:
    """A figure in words: three digits are what an interval of an audit can bear.

    >>> fact_words(0.12345), fact_words(12345), fact_words("fog"), fact_words(1.0)
    ('0.123', '12345', 'fog', '1')
    """
    if isinstance(value, float):
        return f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"
    return str(value)


@cache
def _text(name: str) -> str:
    return package.text(f"auditing/templates/{name}")
