"""A table on a terminal, in a file or in a pipe: no line ends in spaces."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table


def show_table(console: Console, table: Table) -> None:
    """Print a table; the spaces that fill its last column stay away, and so do those of empty lines."""
    from rich.segment import Segment, Segments

    found: list[Segment] = []
    for line in console.render_lines(table, pad=False):
        while line and not line[-1].text.strip():
            line.pop()
        if line:
            line[-1] = Segment(line[-1].text.rstrip(), line[-1].style, line[-1].control)
        found += [*line, Segment.line()]
    console.print(Segments(found), end="")
