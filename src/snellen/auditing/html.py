"""report.html: one self-contained file that opens from disk, offline, under a strict content security policy."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from importlib.resources import files

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from snellen.auditing.charts import curve_chart
from snellen.auditing.check import Measured
from snellen.auditing.panels import Point
from snellen.auditing.report import AuditReport

#: Names of rejected images that are listed; the rest is in rejected.json.
LISTED = 50


def render_report(
    report: AuditReport,
    pictures: Mapping[str, bytes],
    rejected: Sequence[Mapping[str, str]],
) -> str:
    """Render the report; every name in it is data and is escaped."""
    templates = files("snellen.auditing") / "templates"
    style = (templates / "report.css").read_text(encoding="utf-8")
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters["percent"] = lambda value: f"{value:.1%}"
    template = environment.from_string((templates / "report.html.j2").read_text(encoding="utf-8"))
    return template.render(
        report=report,
        style=Markup(style),  # noqa: S704 - our own file
        style_hash=base64.b64encode(hashlib.sha256(style.encode()).digest()).decode(),
        headline=_headline(report.metrics),
        charts=_charts(report),
        pictures={key: base64.b64encode(blob).decode() for key, blob in pictures.items()},
        rejected=rejected[:LISTED],
        rejected_total=len(rejected),
    )


def _headline(metrics: Mapping[str, Measured]) -> list[tuple[str, Measured]]:
    """The few figures that lead the page."""
    chosen = [
        (words, metrics[name])
        for name, words in (
            ("clean.accuracy", "clean accuracy"),
            ("calibration.ece", "calibration error"),
            ("corruption.mce", "mean corruption error (mCE)"),
        )
        if name in metrics
    ]
    for prefix, words in (("corruption.", "worst corruption"), ("adversarial.", "worst case")):
        found = [key for key in metrics if key.startswith(prefix) and key.endswith(".accuracy")]
        if found:
            worst = min(found, key=lambda key: metrics[key].value)
            which = worst.removeprefix(prefix).removesuffix(".accuracy").replace("_", " ").replace(".", " ", 1)
            chosen.append((f"{words}: {which}", metrics[worst]))
    return chosen


def _charts(report: AuditReport) -> list[tuple[str, Markup]]:
    """One curve for each corruption."""
    points: dict[str, list[Point]] = {}
    for name, figure in report.metrics.items():
        if name.startswith("corruption.") and name.endswith(".accuracy"):
            _, kind, severity = name.removesuffix(".accuracy").split(".", 2)
            points.setdefault(kind, []).append(
                Point(x=float(severity), y=figure.value, low=figure.low, high=figure.high)
            )
    charts = []
    for kind, found in points.items():
        words = kind.replace("_", " ")
        charts.append((words, curve_chart(found, words, 1 / report.model["classes"])))
    return charts
