"""A report as Markdown, for repositories, wikis and merge requests."""

from __future__ import annotations

import hashlib
import html
import io
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from snellen.auditing.document import (
    DAMAGE,
    EYE_CHART,
    document_of,
    example_picture,
    facts_words,
    harm_words,
    treat_all_words,
    treatment_words,
)
from snellen.auditing.legal_text import legal_text

if TYPE_CHECKING:
    from snellen.auditing.report import AuditReport

#: Folder beside the file that holds its pictures.
PICTURES = "pictures"

#: What Markdown would read as markup: characters; what begins a list or underlines a heading; what becomes a link.
_MARKUP = re.compile(
    r"[\\`*{}\[\]#|~]|\b_+|_+\b|^(?:[-+=]|\d{1,9}[.)])(?=[\s=-]|$)|:(?=//)|(?<=\bwww)\.", re.IGNORECASE
)


def plain(text: str) -> str:
    r"""Text that Markdown shows as it is, on one line, without control characters.

    >>> print(plain("a|b <script>\x1b"))
    a&#124;b &lt;script&gt;�
    """
    escaped = html.escape(legal_text(" ".join(text.split())), quote=False)
    return _MARKUP.sub(lambda found: "".join(f"&#{ord(letter)};" for letter in found[0]), escaped)


def code(text: str) -> str:
    """Text as code on one line; names in it cannot end it.

    >>> print(code("snellen treat . --finding 'slice:a`b'"))
    ``snellen treat . --finding 'slice:a`b'``
    """
    shown = legal_text(" ".join(text.splitlines()))
    fence = "`" * (1 + max(map(len, re.findall("`+", shown)), default=0))
    return f"{fence}{shown}{fence}" if shown.strip("`") == shown else f"{fence} {shown} {fence}"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """The lines of a table; cells are data and are escaped, heads are ours."""
    cells = [" | ".join(plain(cell) for cell in row) for row in rows]
    return [f"| {' | '.join(head)} |", "|" + " --- |" * len(head), *(f"| {row} |" for row in cells)]


def render_markdown(report: AuditReport, pictures: Mapping[tuple[str | None, ...], str]) -> str:
    """Render a report as GitHub-flavoured Markdown. Names from data are escaped.

    Args:
        report: the report.
        pictures: path of the picture of an example, relative to the file, by the names that the example gives; examples
            whose picture is not there stand without one.
    """
    document = document_of(report)
    lines = [f"# {plain(document.title)}", ""]
    for line in document.lines:
        lines += [plain(line), ""]
    lines += [f"**{plain(document.verdict)}**", "", *table(document.leading.head, document.leading.rows), ""]
    if document.labels is not None:
        lines += ["## Labels", "", *table(document.labels.head, document.labels.rows), ""]
    if document.damage is not None:
        lines += ["## Labels under damage", "", DAMAGE, "", *table(document.damage.head, document.damage.rows), ""]
    if document.eye_chart is not None:
        lines += ["## Eye chart", "", EYE_CHART]
        lines += ["", *table(document.eye_chart.head, document.eye_chart.rows), ""]
    lines += ["## Findings", "", plain(document.tested), ""]
    for number, finding in enumerate(report.findings, start=1):
        lines += [
            f"### {number}. {plain(finding.title)}",
            "",
            f"**{finding.shown_level}**, harm: {harm_words(finding)}.",
            "",
        ]
        if finding.facts:
            lines += [f"{plain(facts_words(finding))}.", ""]
        shown = [
            (pictures[example.image, example.after], example)
            for example in finding.examples
            if (example.image, example.after) in pictures
        ]
        if shown:
            lines += [f"![{_words(one.example_id)}: {_words(one.caption)}]({path})" for path, one in shown] + [""]
        elif finding.examples:
            lines += [f"Examples: {', '.join(plain(one.example_id) for one in finding.examples)}.", ""]
        if finding.treatments:
            words = [code(one) if one.startswith("snellen ") else plain(one) for one in finding.treatments]
            lines += [" ".join(map(treatment_words, finding.treatments, words)), ""]
    if not report.findings:
        lines += [report.nothing_found, ""]
    if document.treatment is not None:
        lines += ["## Treatment", ""]
        if document.treat_all is not None:
            lines += [
                one for words in treat_all_words(document.treat_all, code(document.treat_all)) for one in (words, "")
            ]
        lines += [*table(document.treatment.head, document.treatment.rows), ""]
    if document.checks:
        lines += ["## Skipped checks", "", *(f"- {plain(check)}" for check in document.checks), ""]
    lines += ["## Figures", "", *table(document.figures.head, document.figures.rows), ""]
    lines += ["## How to read this", "", *(f"- {plain(note)}" for note in document.notes), ""]
    lines += table(document.provenance.head, document.provenance.rows)
    return "\n".join(lines) + "\n"


def write_markdown(report: AuditReport, file: Path) -> str:
    """Write a report and its pictures, as PNG files in the folder :data:`PICTURES` beside it; returns the text."""
    held = report.pictures()
    placed: dict[tuple[str | None, ...], str] = {}
    for example in (example for finding in report.findings for example in finding.examples):
        picture = example_picture((example.image, example.after), held)
        if picture is None:
            continue
        stream = io.BytesIO()
        picture.save(stream, "PNG", optimize=True)
        name = f"{PICTURES}/{hashlib.sha256(stream.getvalue()).hexdigest()[:16]}.png"
        placed[example.image, example.after] = name
        (file.parent / PICTURES).mkdir(parents=True, exist_ok=True)
        (file.parent / name).write_bytes(stream.getvalue())
    text = render_markdown(report, placed)
    file.parent.mkdir(parents=True, exist_ok=True)
    # A file name of undecodable bytes holds characters that UTF-8 cannot hold.
    file.write_bytes(text.encode("utf-8", "replace"))
    return text


def _words(text: str) -> str:
    """Words for those who cannot see a picture: no markup at all, since some readers do not decode it there."""
    return re.sub(r"[^\w ./→:,-]", " ", text)
