"""``snellen cite``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from snellen.cli.text import harmless


def cite(
    run: Annotated[Path, typer.Argument(help="Folder of a finished run, of a saved report, or of an artifact.")],
    text: Annotated[bool, typer.Option("--text", help="One line for each work instead of BibTeX.")] = False,
) -> None:
    """Print the references of the published methods that a run used, as BibTeX."""
    from snellen.verbs.cite import cite as cited

    found = cited(run)
    typer.echo(harmless(found.text if text else found.bibtex.rstrip("\n")))
