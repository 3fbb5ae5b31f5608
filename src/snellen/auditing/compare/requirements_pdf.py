"""The table of requirements as a PDF file: the decision, the table on wide pages, and what was not measured."""

from __future__ import annotations

import importlib.util
import io
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from snellen.auditing.compare.requirements_page import SIGNS, hint_words, seen_words
from snellen.auditing.pdf import _EDGE, _foot, _styles, marked
from snellen.core.errors import import_extra

if TYPE_CHECKING:
    from snellen.auditing.compare.required_cell import RequiredCell
    from snellen.auditing.compare.requirements_table import RequirementsTable

#: Colours of the verdicts on white.
COLOURS = {"met": "#1b6e3c", "not met": "#a4161a", "undecided": "#6b5700", "not measured": "#565d68"}

#: Characters of a name in the head of a column, which must leave room for a row on each page.
_MOST_NAME = 60

#: Models side by side on a page; more come in further tables.
ACROSS = 6


def can_write_pdf() -> bool:
    """Whether ReportLab is installed."""
    return importlib.util.find_spec("reportlab") is not None


def write_requirements_pdf(found: RequirementsTable, file: Path) -> None:
    """Write the table on A4 pages, broadside. Names and texts are shown, never obeyed.

    Raises:
        MissingExtraError: ReportLab is not installed.
    """
    import_extra("reportlab", "pdf", "PDF")
    from reportlab.lib.pagesizes import A4, landscape
    from reportlab.platypus import SimpleDocTemplate

    stream = io.BytesIO()
    pages = SimpleDocTemplate(
        stream,
        pagesize=landscape(A4),
        leftMargin=_EDGE,
        rightMargin=_EDGE,
        topMargin=_EDGE,
        bottomMargin=_EDGE,
        title=found.title.encode("utf-8", "replace").decode("utf-8"),
        author="Snellen",
        invariant=1,  # no date: equal tables give equal bytes
    )
    foot = partial(_foot, found.title)
    pages.build(_story(found, pages.width), onFirstPage=foot, onLaterPages=foot)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(stream.getvalue())


def _story(found: RequirementsTable, width: float) -> list[Any]:
    from reportlab.platypus import Paragraph, Spacer

    styles = _styles()

    def text(words: str, style: str = "body") -> Any:  # noqa: ANN401 - of ReportLab
        return Paragraph(marked(words), styles[style])

    story = [text(found.title, "title"), text(found.verdict, "verdict")]
    for start in range(0, len(found.models), ACROSS):
        story += [_table(found, range(start, min(start + ACROSS, len(found.models))), width), Spacer(1, 12)]
    if found.not_measured:
        story.append(text("Not measured", "head"))
        for row, model, cell in found.not_measured:
            command = f". Measure it: {cell.command}" if cell.command else ""
            story.append(text(f"{row.id}, {model.name}: {cell.reason}{command}", "small"))
    story.append(text("Models", "head"))
    story += [
        text(
            f"{model.name}: {', '.join(f'{count} {verdict}' for verdict, count in model.counts.items() if count)}; "
            f"{model.images} images of {model.data}; identity {model.identity or 'not hashable'}",
            "small",
        )
        for model in found.models
    ]
    story.append(text("How to read this", "head"))
    return story + [text(note, "small") for note in found.notes]


def shortened(name: str) -> str:
    """A name for the head of a column; the list of models has the whole.

    >>> shortened("fashion-cnn"), len(shortened("x" * 300))
    ('fashion-cnn', 60)
    """
    return name if len(name) <= _MOST_NAME else f"{name[: _MOST_NAME - 1]}…"


def _table(found: RequirementsTable, places: range, width: float) -> Any:  # noqa: ANN401 - of ReportLab
    from reportlab.lib import colors
    from reportlab.platypus import Paragraph, Table

    styles = _styles()
    each = min(width * 0.62 / len(places), 150.0)
    head = ["requirement", *(shortened(found.models[place].name) for place in places)]
    rows = [[Paragraph(f'<font name="VeraBd">{marked(cell, bold=True)}</font>', styles["cell"]) for cell in head]]
    for row in found.rows:
        what = f'<font name="VeraBd">{marked(row.id, bold=True)}</font> {marked(row.text)}<br/>'
        what += f'<font color="#565d68">{marked(row.metric)}{marked(f"; {row.source}") if row.source else ""}</font>'
        rows.append([Paragraph(what, styles["cell"]), *(_cell(row.cells[place], styles) for place in places)])
    made = Table(rows, colWidths=[width - each * len(places), *[each] * len(places)], repeatRows=1, splitInRow=1)
    made.hAlign = "LEFT"
    made.setStyle(
        [
            ("LINEBELOW", (0, 0), (-1, -1), 0.25, colors.HexColor("#d8dce2")),
            ("LINEBELOW", (0, 0), (-1, 0), 0.75, colors.HexColor("#16181c")),
            ("LEFTPADDING", (0, 0), (0, -1), 0),
            ("VALIGN", (0, 0), (-1, -1), "TOP"),
        ]
    )
    return made


def _cell(cell: RequiredCell, styles: dict[str, Any]) -> Any:  # noqa: ANN401 - of ReportLab
    from reportlab.platypus import Paragraph

    # The check mark and the cross are in none of the fonts.
    sign = {"✓": "+", "✗": "×"}.get(SIGNS[cell.verdict], SIGNS[cell.verdict])
    words = f'<font name="VeraBd" color="{COLOURS[cell.verdict]}">{marked(f"{sign} {cell.verdict}", bold=True)}</font>'
    for part in (seen_words(cell), hint_words(cell)):
        words += f"<br/>{marked(part)}" if part else ""
    return Paragraph(words, styles["cell"])
