"""``snellen requirements``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from snellen.cli.gate_options import EXIT_GATE
from snellen.cli.progress import loading
from snellen.cli.shown_table import show_table
from snellen.cli.text import harmless, markup, terminal
from snellen.core.errors import InputError

if TYPE_CHECKING:
    from snellen.auditing.compare.requirements_table import RequirementsTable


def requirements(
    file: Annotated[
        Path,
        typer.Argument(
            help="requirements.toml: tables [[requirement]] with id, text and metric = 'clean.accuracy >= 0.9'; "
            "optionally source, or not_worse_than = '1pt' and baseline = 'RUN' beside the metric."
        ),
    ],
    runs: Annotated[
        list[Path], typer.Argument(metavar="RUN...", help="Run directories of finished audits, one for each model.")
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder for requirements.html, .md, .json, and .pdf where the extra pdf is installed; replaced."
        ),
    ] = None,
    fail_unless_met: Annotated[
        bool, typer.Option("--fail-unless-met", help="Exit with 3 unless every model meets every requirement.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print requirements.json instead of the table.")] = False,
) -> None:
    """Judge audited models by written requirements: met, not met, or undecided on these images."""
    with loading("judging"):
        from snellen.auditing.compare.requirements_pdf import can_write_pdf
        from snellen.auditing.compare.requirements_table import requirements as judge_models
        from snellen.core.run import canonical_json

        found = judge_models(file, runs)
    written = ""
    if out is not None:
        try:
            page = found.save(out)
        except OSError as error:
            raise InputError(f"cannot write to {out}: {error.strerror or error}") from error
        written = f"Written: {page}, and requirements.md, .json" + (
            " and .pdf beside it" if can_write_pdf() else " beside it; for .pdf: pip install 'snellen[pdf]'"
        )
    if as_json:
        typer.echo(canonical_json(found.to_json()), nl=False)
    else:
        _show(found)
        if written:
            typer.echo(harmless(f"\n{written}"))
    if fail_unless_met and not found.met:
        raise typer.Exit(EXIT_GATE)


_COLOURS = {"met": "green", "not met": "red", "undecided": "yellow", "not measured": "dim"}


def _show(found: RequirementsTable) -> None:
    from rich.table import Table

    from snellen.auditing.compare.requirements_page import hint_words, seen_words

    console = terminal()
    console.print(f"[bold]{markup(found.title)}[/]\n")
    grid = Table("requirement", *(markup(model.name) for model in found.models), box=None, pad_edge=False)
    for row in found.rows:
        cells = []
        for cell in row.cells:
            verdict = f"[{_COLOURS[cell.verdict]}]{cell.verdict}[/]"
            parts = verdict, markup(seen_words(cell)), markup(hint_words(cell))
            cells.append("\n".join(part for part in parts if part))
        grid.add_row(f"[bold]{markup(row.id)}[/] {markup(row.text)}\n[dim]{markup(row.metric)}[/]\n", *cells)
    show_table(console, grid)
    for row, model, cell in found.not_measured:
        console.print(f"{markup(row.id)}, {markup(model.name)}: {markup(cell.reason)}", soft_wrap=True)
        if cell.command:
            console.print(f"  {markup(cell.command)}", soft_wrap=True)
    console.print(f"\n[bold]{markup(found.verdict)}[/]", soft_wrap=True)
