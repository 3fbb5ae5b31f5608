"""The summary of a result on a terminal: lines, tables, what was rejected, and what was written."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from snellen.cli.shown_table import show_table
from snellen.cli.text import markup, terminal

if TYPE_CHECKING:
    from snellen.runs.record import Summary

#: Rejected images that are named; all are in the record.
_NAMED = 5


def show_summary(summary: Summary, folder: Path) -> None:
    """Print a summary; everything in it is data and is escaped."""
    from rich.table import Table

    from snellen.models.remote.sent_log import SENT

    console = terminal()
    console.print(f"[bold]{markup(summary.heading)}[/]\n")
    for part in summary.parts:
        if isinstance(part, str):
            console.print(markup(part))
            continue
        table = Table(*part.columns, box=None, pad_edge=False)
        for position in part.numbers:
            table.columns[position].justify = "right"
        for row in part.rows:
            table.add_row(*map(markup, row))
        show_table(console, table)
    for one in summary.rejected[:_NAMED]:
        console.print(f"[yellow]rejected:[/] {markup(one.id)}: {markup(one.reason)}")
    if len(summary.rejected) > _NAMED:
        console.print(f"… {len(summary.rejected)} rejected in all, see {summary.record}")
    sent = [SENT] if (folder / SENT).exists() else []
    for file in (*summary.files, *sent, summary.record):
        console.print(f"Written: {markup(str(folder / file))}", soft_wrap=True)
    for line in summary.last:
        console.print(markup(line), soft_wrap=True)
