"""``snellen report``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from snellen.cli.text import harmless
from snellen.core.errors import InputError


def report(
    run: Annotated[Path, typer.Argument(help="Run directory of a finished audit, or a folder of a saved report.")],
    to: Annotated[
        Literal["pdf", "md", "html", "model-card", "tripod-ai", "claim"],
        typer.Option(
            help="PDF, Markdown with pictures beside it, or HTML. A model card, or the items of TRIPOD+AI or CLAIM, in "
            "Markdown: what was measured, and what is left for the author."
        ),
    ] = "pdf",
    out: Annotated[
        Path | None,
        typer.Option(
            help="File to write, which is replaced.",
            show_default="report.pdf, claim.md … in the run directory",
        ),
    ] = None,
) -> None:
    """Export the report of a finished audit as PDF, Markdown or HTML, or as a document that auditors want."""
    from snellen.auditing.opening import open_report

    opened = open_report(run)
    name = f"report.{to}" if to in ("pdf", "md", "html") else f"{to}.md"
    file = out or run / name
    if file.is_dir():
        raise InputError(f"--out {file} is a folder; name a file, such as {file / name}")
    try:
        if to == "html":
            page = run / "report.html"
            content = page.read_bytes() if page.is_file() else opened.html.encode()
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)
        elif to == "md":
            opened.to_markdown(file)
        elif to == "pdf":
            opened.to_pdf(file)
        else:
            opened.to_form(to, file)
    except OSError as error:
        raise InputError(f"cannot write {file}: {error.strerror or error}") from error
    typer.echo(harmless(f"Written: {file}"))
