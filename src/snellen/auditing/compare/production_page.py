"""What is known of production images: as one self-contained page, as Markdown, and as text."""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from snellen.auditing.compare.calendar_windows import place_of
from snellen.auditing.html import content_hash
from snellen.auditing.markdown import plain, table
from snellen.checks.charts import line_chart
from snellen.checks.check import CheckFigure
from snellen.checks.panels import Line, Panel, Point
from snellen.core import package

if TYPE_CHECKING:
    from snellen.auditing.compare.production import Monitoring
    from snellen.auditing.compare.unlabelled_window import Judged, Window

#: A sign for each verdict, so that none rests on a colour.
SIGNS: dict[Judged, str] = {"estimated": "✓", "uncertain": "?", "refused": "✗", "too few": "–"}

#: Classes whose shares changed most that are shown.
_SHOWN = 12


def decision(found: Monitoring) -> str:
    """What came out for all images, in a sentence."""
    whole = found.whole
    if whole.accuracy is not None:
        doubt = ", with the doubt below" if whole.verdict == "uncertain" else ""
        before = shown(found.audited_accuracy)
        return f"The accuracy is estimated at {shown(whole.accuracy)}{doubt}; it was {before} in the audit."
    if whole.verdict == "refused":
        return (
            f"The accuracy cannot be estimated without labels: {whole.reason}. Labels of {found.to_label} images drawn "
            f"at random give it within about five points."
        )
    return f"The accuracy cannot be estimated: {whole.reason}."


def shown(one: CheckFigure | None) -> str:
    """A share with its interval, in percent.

    >>> shown(CheckFigure(value=0.9, low=0.85, high=0.94, n=10)), shown(None)
    ('90.0% (85.0% – 94.0%)', '')
    """
    return "" if one is None else f"{one.value:.1%} ({one.low:.1%} – {one.high:.1%})"


def span(window: Window) -> str:
    """The days of a window."""
    if window.start is None:
        return "all"
    return window.start if window.start == window.end else f"{window.start} – {window.end}"


def rows(found: Monitoring) -> list[tuple[str, ...]]:
    """A row for each window, and one for all images."""
    return [
        (
            span(one),
            str(one.images),
            f"{SIGNS[one.verdict]} {one.verdict}",
            shown(one.accuracy),
            "" if one.area is None else f"{one.area.value:.2f} ({one.area.low:.2f} – {one.area.high:.2f})",
            "" if one.foreign is None else f"{max(one.foreign, 0.0):.1%}",
            "" if one.p_value is None else f"{one.p_value:.2g}",
            one.reason,
        )
        for one in (*found.windows, found.whole)
    ]


#: Head of these rows.
HEAD = ("time", "images", "verdict", "estimated accuracy", "area of drift", "like no audited image", "p", "why")


def changed_classes(found: Monitoring) -> list[tuple[str, str, str]]:
    """Classes whose estimated shares differ most from the audited ones."""
    ranked = sorted(found.shares.items(), key=lambda one: (-abs(one[1][0] - one[1][1]), one[0]))[:_SHOWN]
    return [(name, f"{now:.1%}", f"{before:.1%}") for name, (now, before) in ranked]


def monitoring_text(found: Monitoring) -> str:
    """As plain text."""
    lines = [f"{found.model} on {found.data}", "", decision(found), ""]
    for time, *cells, why in rows(found):
        named = [f"{name} {cell}" for name, cell in zip(HEAD[1:-1], cells, strict=True) if cell]
        lines.append(f"{time}: {', '.join(named)}: {why}")
    return "\n".join(lines)


def monitoring_markdown(found: Monitoring) -> str:
    """As GitHub-flavoured Markdown; names from data are escaped."""
    lines = [f"# {plain(found.model)} on {plain(found.data)}", "", f"**{plain(decision(found))}**", ""]
    lines += [f"Audited on {plain(found.audited)}.", "", *table(HEAD, rows(found)), ""]
    if found.shares:
        lines += ["## Classes", "", *table(("class", "estimated share", "in the audit"), changed_classes(found)), ""]
    lines += ["## How to read this", "", *(f"- {plain(note)}" for note in found.notes)]
    return "\n".join(lines) + "\n"


def render_monitoring(found: Monitoring) -> str:
    """As one page; every name in it is data and is escaped."""
    style = package.text("auditing/compare/templates/requirements.css") + package.text(
        "auditing/compare/templates/monitoring.css"
    )
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string(package.text("auditing/compare/templates/monitoring.html.j2"))
    return template.render(
        found=found,
        decision=decision(found),
        head=HEAD,
        rows=list(zip((*found.windows, found.whole), rows(found), strict=True)),
        classes=changed_classes(found),
        chart=_chart(found),
        style=Markup(style),  # noqa: S704 - our own file
        style_hash=content_hash(style),
    )


def _chart(found: Monitoring) -> Markup | None:
    """Estimated accuracy by window, with a gap where there is no estimate; None with fewer than two of them."""
    if found.every is None or sum(one.accuracy is not None for one in found.windows) < 2:
        return None
    places = [place_of(datetime.date.fromisoformat(one.start), found.every) for one in found.windows if one.start]
    parts: list[list[Point]] = [[]]
    last = places[0]
    for place, one in zip(places, found.windows, strict=True):
        if one.accuracy is None:
            continue
        if parts[-1] and place != last + 1:
            parts.append([])
        x, last = 1 + place - places[0], place
        parts[-1].append(Point(x=x, y=one.accuracy.value, low=one.accuracy.low, high=one.accuracy.high))
    audited = [Point(x=x, y=found.audited_accuracy.value) for x in (1, 1 + places[-1] - places[0])]
    lines = (
        *(Line(name="estimated", points=tuple(part)) for part in parts),
        Line(name="in the audit", points=tuple(audited), reference=True),
    )
    panel = Panel(
        check="monitor",
        title="Estimated accuracy over time",
        x_label=f"{found.every}; 1 is that of {found.windows[0].start}",
        y_label="accuracy",
        lines=lines,
    )
    return line_chart(panel, width=640, height=280)
