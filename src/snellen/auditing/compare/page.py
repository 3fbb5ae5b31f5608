"""comparison.html: one self-contained page that opens from disk, offline, under a strict content security policy."""

from __future__ import annotations

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from snellen.auditing.compare.comparison import Comparison, percent, shown
from snellen.auditing.eye_chart_picture import eye_chart_picture
from snellen.auditing.html import content_hash
from snellen.auditing.report import AuditReport
from snellen.core import package


def render_comparison(
    comparison: Comparison, first: AuditReport | None = None, second: AuditReport | None = None
) -> str:
    """Render the page; every name in it is data and is escaped.

    Args:
        comparison: what to show.
        first: report of the earlier run, for its eye chart.
        second: of the later one; the charts are drawn only when both are given and have one.
    """
    style = "".join(map(package.text, ("auditing/templates/parts.css", "auditing/compare/templates/comparison.css")))
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters["percent"] = percent
    template = environment.from_string(package.text("auditing/compare/templates/comparison.html.j2"))
    return template.render(
        comparison=comparison,
        changed=[one for one in comparison.figures if one.verdict in ("worse", "better")],
        shown=shown,
        style=Markup(style),  # noqa: S704 - our own file
        style_hash=content_hash(style),
        eye_charts=_eye_charts(first, second),
    )


def _eye_charts(first: AuditReport | None, second: AuditReport | None) -> Markup | None:
    """Both eye charts side by side; None unless both runs have one."""
    if first is None or second is None or first.eye_chart is None or second.eye_chart is None:
        return None
    return eye_chart_picture([("first", first.eye_chart), ("second", second.eye_chart)])
