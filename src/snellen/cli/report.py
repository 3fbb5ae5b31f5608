"""``snellen report``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from snellen.cli.text import harmless
from snellen.core.errors import InputError

Form = Literal["pdf", "md", "html", "model-card", "tripod-ai", "claim"]

#: Endings of files and the form of each.
_ENDINGS: dict[str, Form] = {".pdf": "pdf", ".md": "md", ".markdown": "md", ".html": "html", ".htm": "html"}


def report(
    run: Annotated[Path, typer.Argument(help="Run directory of a finished audit, or a folder of a saved report.")],
    to: Annotated[
        Form | None,
        typer.Option(
            help="PDF, Markdown with pictures beside it, or HTML. A model card, or the items of TRIPOD+AI or CLAIM: "
            "what was measured, and what is left for the author. These are Markdown, or HTML if --out ends so.",
            show_default="the ending of --out, or pdf without it",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="File to write, which is replaced.", show_default="report.pdf, report.md, claim.md … in RUN"),
    ] = None,
) -> None:
    """Export the report of a finished audit as PDF, Markdown or HTML, or as a document that auditors want."""
    from snellen.auditing.compare.run_record import open_report
    from snellen.core.run import write_atomically

    form = _form(to, out)
    opened = open_report(run)
    name = f"report.{form}" if form in ("pdf", "md", "html") else f"{form}.md"
    file = out or run / name
    if file.is_dir():
        raise InputError(f"--out {file} is a folder; name a file, such as {file / name}")
    try:
        if form == "html":
            page = run / "report.html"
            # Whole or not at all: by default it is the page of the run itself that is replaced.
            write_atomically(file, page.read_bytes() if page.is_file() else opened.html.encode())
        elif form == "md":
            opened.to_markdown(file)
        elif form == "pdf":
            opened.to_pdf(file)
        else:
            opened.to_form(form, file)
    except OSError as error:
        raise InputError(f"cannot write {file}: {error.strerror or error}") from error
    typer.echo(harmless(f"Written: {file}"))


def _form(to: Form | None, out: Path | None) -> Form:
    """The form that both options ask for."""
    if out is None:
        return to or "pdf"
    ending = _ENDINGS.get(out.suffix.lower())
    if to is None and ending is None:
        raise InputError(
            f"--out {out}: the ending of the file names no form; end it in .pdf, .md or .html, or give --to"
        )
    # Documents for auditors are Markdown or a page.
    written = (to,) if to in ("pdf", "md", "html") else ("md", "html")
    if to is not None and ending is not None and ending not in written:
        raise InputError(f"--out {out} and --to {to} name two forms; leave one of them out")
    return to or ending or "pdf"
