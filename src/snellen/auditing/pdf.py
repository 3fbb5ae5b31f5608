"""A report as a PDF file of a few pages, to send and to print: text that can be searched, pictures, and no clock.

ReportLab makes it (BSD licence, pure Python, kept since 2000). WeasyPrint (BSD) would print the page itself, but needs
Pango from the system, and a browser is larger still; fpdf2 is under the LGPL; pages drawn by Matplotlib break no text.
The fonts are those that ReportLab brings, so that equal reports give equal bytes everywhere: Bitstream Vera, Symbol for
what it lacks (arrows, Greek), and STSong, which viewers supply, for Chinese, Japanese and Cyrillic. Scripts that are
in none of them, such as Arabic, are shown as ?; Markdown and HTML show all.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from html import escape
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from snellen.auditing.document import (
    DAMAGE,
    EYE_CHART,
    TextTable,
    document_of,
    example_picture,
    facts_words,
    harm_words,
    treat_all_words,
    treatment_words,
)
from snellen.auditing.finding_picture import arrange_findings
from snellen.core.errors import import_extra

if TYPE_CHECKING:
    from snellen.auditing.report import AuditReport
    from snellen.core.finding import Finding

#: Colours of the levels on white: as on the page.
COLOURS = {"severe": "#a4161a", "moderate": "#9a4a00", "mild": "#6b5700", "note": "#565d68"}

#: Height of a picture on paper, and edge of the page, points.
_PICTURE, _EDGE = 40, 50

#: Room below a heading, points; with less of it, a heading begins a page.
_ROOM = 90

#: Examples of a finding that have a place; all are in the report.
_EXAMPLES = 5

_FONTS = ("Vera", "VeraBd")


def write_pdf(report: AuditReport, file: Path) -> None:
    """Write a report on A4 pages. Names from data are shown, never obeyed.

    Raises:
        MissingExtraError: ReportLab is not installed.
    """
    import_extra("reportlab", "pdf", "PDF")
    from reportlab.platypus import SimpleDocTemplate

    stream = io.BytesIO()
    document = document_of(report)
    pages = SimpleDocTemplate(
        stream,
        leftMargin=_EDGE,
        rightMargin=_EDGE,
        topMargin=_EDGE,
        bottomMargin=_EDGE,
        title=document.title.encode("utf-8", "replace").decode("utf-8"),
        author="Snellen",
        invariant=1,  # no date, and an identity that depends on the content alone
    )
    foot = partial(_foot, document.title)
    pages.build(_story(report, pages.width), onFirstPage=foot, onLaterPages=foot)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(stream.getvalue())


def _story(report: AuditReport, width: float) -> list[Any]:
    """The parts of the document, in order."""
    from reportlab.platypus import CondPageBreak, KeepTogether, Paragraph, Spacer

    document, styles, held = document_of(report), _styles(), report.pictures()

    def text(words: str, style: str = "body") -> Any:  # noqa: ANN401 - of ReportLab
        return Paragraph(marked(words), styles[style])

    def head(words: str) -> list[Any]:
        return [CondPageBreak(_ROOM), text(words, "head")]

    story = [text(document.title, "title"), *(text(line, "soft") for line in document.lines), Spacer(1, 8)]
    story += [text(document.verdict, "verdict"), _table(document.leading, width * 0.75, numbers=(1, 2))]
    if document.labels is not None:
        story += [*head("Labels"), _table(document.labels, width, numbers=range(1, len(document.labels.head)))]
    if document.damage is not None:
        story += [*head("Labels under damage"), text(DAMAGE, "soft"), Spacer(1, 4)]
        story.append(_table(document.damage, width, numbers=range(1, len(document.damage.head))))
    if document.eye_chart is not None:
        numbers = range(1, len(document.eye_chart.head))
        story += [*head("Eye chart"), text(EYE_CHART, "soft"), Spacer(1, 4)]
        story.append(_table(document.eye_chart, width, numbers=numbers))
    story += [*head("Findings"), text(document.tested, "soft"), Spacer(1, 6)]
    arranged = arrange_findings(report.findings)
    for finding in arranged.standing:
        parts = [
            Paragraph(
                f'<font name="VeraBd" color="{COLOURS[finding.level]}">{finding.shown_level}</font>&nbsp; '
                f'<font name="VeraBd">{marked(finding.title, bold=True)}</font>',
                styles["body"],
            ),
            text(f"Harm: {harm_words(finding)}.{_dot(facts_words(finding))}", "small"),
            *_pictures(finding, held, text),
        ]
        if finding.treatments:
            parts.append(text(" ".join(treatment_words(one, one) for one in finding.treatments), "small"))
        story.append(KeepTogether([*parts, Spacer(1, 7)]))
    for kind, found in arranged.folded.items():
        story.append(text(f"{len(found)} more of the kind {kind.replace('_', ' ')}, each of less harm:", "body"))
        story += [text(f"{one.shown_level}, {one.harm:.1%}: {one.title}", "small") for one in found]
    if not report.findings:
        story.append(text(report.nothing_found))
    if document.treatment is not None:
        story += head("Treatment")
        if document.treat_all is not None:
            story += [text(words, "small") for words in treat_all_words(document.treat_all, document.treat_all)]
        story += [Spacer(1, 4), _table(document.treatment, width, numbers=(1, 3))]
    if document.checks:
        story += [*head("Skipped checks"), *(text(check, "small") for check in document.checks)]
    story += [*head("Figures"), _table(document.figures, width, numbers=(1, 2, 3))]
    story += [*head("How to read this"), *(text(note, "small") for note in document.notes), Spacer(1, 6)]
    story.append(_table(document.provenance, width))
    return story


def _dot(facts: str) -> str:
    return f" {facts[:1].upper()}{facts[1:]}." if facts else ""


def _pictures(finding: Finding, held: Mapping[str, bytes], text: Callable[..., Any]) -> list[Any]:
    """A row of pictures with their captions under them; nothing where the report keeps none."""
    from reportlab.platypus import Image, Table

    cells = []
    for example in finding.examples[:_EXAMPLES]:
        picture = example_picture((example.image, example.after), held)
        if picture is None:
            continue
        stream = io.BytesIO()
        picture.save(stream, "PNG")
        wide = picture.width * _PICTURE / picture.height
        shown = Image(io.BytesIO(stream.getvalue()), wide, _PICTURE)
        cells.append((shown, text(example.caption or example.example_id, "caption"), max(wide, 60.0) + 8))
    if not cells:
        return []
    row = Table([[one for one, _, _ in cells], [caption for _, caption, _ in cells]], colWidths=[w for *_, w in cells])
    row.hAlign = "LEFT"
    row.setStyle([("LEFTPADDING", (0, 0), (-1, -1), 0), ("VALIGN", (0, 0), (-1, -1), "TOP")])
    row.setStyle([("TOPPADDING", (0, 0), (-1, -1), 3), ("BOTTOMPADDING", (0, 0), (-1, -1), 0)])
    return [row]


def _table(content: TextTable, width: float, numbers: Sequence[int] = ()) -> Any:  # noqa: ANN401 - of ReportLab
    """A table whose first column takes what the others leave; numbers are set to the right."""
    from reportlab.lib import colors
    from reportlab.pdfbase.pdfmetrics import stringWidth
    from reportlab.platypus import Paragraph, Table

    styles = _styles()
    rows = [content.head, *content.rows] if any(content.head) else list(content.rows)
    if not rows:
        return Paragraph("None.", styles["small"])
    rest = [max(stringWidth(row[place], "Vera", 7.5) for row in rows) + 12 for place in range(1, len(content.head))]
    first = max(stringWidth(row[0], "Vera", 7.5) for row in rows) + 12
    limit = max(0.8 * width, width - first)
    if sum(rest) >= limit:  # heads break between their words first
        heads = [max((stringWidth(word, "Vera", 7.5) for word in one.split()), default=0) for one in content.head[1:]]
        held = [
            max((stringWidth(row[at + 1], "Vera", 7.5) for row in content.rows), default=0) for at in range(len(heads))
        ]
        rest = [max(one, other) + 12 for one, other in zip(heads, held, strict=True)]
    rest = rest if sum(rest) < limit else [0.8 * width * one / sum(rest) for one in rest]
    cells = [
        [Paragraph(marked(cell), styles["right" if place in numbers else "cell"]) for place, cell in enumerate(row)]
        for row in rows
    ]
    made = Table(cells, colWidths=[width - sum(rest), *rest], repeatRows=1 if any(content.head) else 0)
    made.hAlign = "LEFT"
    looks: list[tuple[Any, ...]] = [
        ("LINEBELOW", (0, 0), (-1, -1), 0.25, colors.HexColor("#d8dce2")),
        ("TOPPADDING", (0, 0), (-1, -1), 1.5),
        ("BOTTOMPADDING", (0, 0), (-1, -1), 2),
        ("LEFTPADDING", (0, 0), (0, -1), 0),
        ("VALIGN", (0, 0), (-1, -1), "TOP"),
    ]
    if any(content.head):
        looks.append(("LINEBELOW", (0, 0), (-1, 0), 0.75, colors.HexColor("#16181c")))
    made.setStyle(looks)
    return made


def _foot(title: str, canvas: Any, page: Any) -> None:  # noqa: ANN401 - of ReportLab
    from reportlab.platypus import Paragraph

    line = Paragraph(f"{marked(title)} &nbsp;·&nbsp; page {canvas.getPageNumber()}", _styles()["small"])
    line.wrap(page.width, _EDGE)
    line.drawOn(canvas, _EDGE + 6, _EDGE * 0.5)  # where the text begins: a frame has 6 points of padding


@cache
def _styles() -> dict[str, Any]:
    """Styles of paragraphs; the fonts are registered on the way."""
    from reportlab.lib.colors import HexColor
    from reportlab.lib.styles import ParagraphStyle
    from reportlab.pdfbase import pdfmetrics
    from reportlab.pdfbase.cidfonts import UnicodeCIDFont
    from reportlab.pdfbase.ttfonts import TTFont

    for name in _FONTS:
        pdfmetrics.registerFont(TTFont(name, f"{name}.ttf"))
    pdfmetrics.registerFont(UnicodeCIDFont("STSong-Light"))
    ink, soft = HexColor("#16181c"), HexColor("#565d68")

    def style(size: float, **others: Any) -> Any:  # noqa: ANN401 - of ReportLab
        base = {"fontName": "Vera", "fontSize": size, "leading": size * 1.4, "textColor": ink, "splitLongWords": 1}
        return ParagraphStyle("snellen", **{**base, **others})

    return {
        "title": style(16, fontName="VeraBd", spaceAfter=4),
        "head": style(11.5, fontName="VeraBd", spaceBefore=14, spaceAfter=4),
        "verdict": style(9.5, fontName="VeraBd", spaceAfter=8),
        "body": style(8.5),
        "soft": style(8, textColor=soft),
        "small": style(7.5, textColor=soft, spaceAfter=1.5),
        "caption": style(6.5, textColor=soft),
        "cell": style(7.5),
        "right": style(7.5, alignment=2),
    }


def marked(text: str, *, bold: bool = False) -> str:
    """Text for a paragraph of ReportLab: escaped, each character in a font that has it.

    >>> marked("a < b")
    'a &lt; b'
    >>> marked("Coat → Bag")
    'Coat <font name="Symbol">→</font> Bag'
    """
    _styles()
    parts = []
    for font, run in groupby(" ".join(text.split()), partial(_font_of, own="VeraBd" if bold else "Vera")):
        shown = escape("".join(run), quote=False)
        if font is None:
            parts.append("?" * len(re.sub("&[a-z]+;", "x", shown)))
        else:
            parts.append(shown if font in _FONTS else f'<font name="{font}">{shown}</font>')
    return "".join(parts)


def _font_of(character: str, own: str) -> str | None:
    """Font that has a character; None where none has."""
    from reportlab.pdfbase import pdfmetrics

    if ord(character) in pdfmetrics.getFont(own).face.charToGlyph:
        return own
    try:
        character.encode("symbol")
    except UnicodeError:
        cjk = range(0x2E80, 0xD7A4), range(0xF900, 0xFB00), range(0xFF00, 0xFFF0), range(0x400, 0x460)
        return "STSong-Light" if any(ord(character) in block for block in cjk) else None
    return "Symbol"
