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
from snellen.auditing.report import AuditReport
from snellen.evidence import Evidence
from snellen.sweep import curve

#: Names of rejected images that are listed; the rest is in rejected.json.
LISTED = 50


def render_report(
    report: AuditReport,
    evidence: Mapping[str, Evidence],
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
        charts=_charts(report, evidence),
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
            ("clean.ece", "calibration error"),
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


def _charts(report: AuditReport, evidence: Mapping[str, Evidence]) -> list[tuple[str, Markup]]:
    """One curve for each corruption."""
    if not len(evidence.get("corruption", ())):
        return []
    rows = evidence["corruption"]
    model = rows.table["model"][0].as_py()
    # Every sweep has its neutral point, strength 0, under a setting of its own.
    names = [setting.removesuffix(".0") for setting in rows.settings if setting.endswith(".0")]
    charts = []
    for name in names:
        words, points = name.replace("_", " "), curve(rows, name, model)
        if points:
            charts.append((words, curve_chart(points, words, 1 / report.model["classes"])))
    return charts
