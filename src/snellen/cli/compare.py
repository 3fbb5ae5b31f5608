"""``snellen compare``."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from snellen.cli.gate_options import EXIT_GATE
from snellen.cli.progress import loading
from snellen.cli.shown_table import show_table
from snellen.cli.text import harmless, markup, terminal
from snellen.core.errors import InputError

if TYPE_CHECKING:
    from snellen.auditing.compare.comparison import Comparison


def compare(
    first: Annotated[Path, typer.Argument(help="Run directory of the earlier audit.")],
    second: Annotated[Path, typer.Argument(help="Run directory of the later audit.")],
    out: Annotated[
        Path | None,
        typer.Option(help="Folder for comparison.json and comparison.html, which are replaced."),
    ] = None,
    margin: Annotated[
        float,
        typer.Option(min=0, help="Same: the whole 95 % interval lies within plus or minus this."),
    ] = 0.02,
    not_worse_than: Annotated[
        list[str] | None,
        typer.Option(
            metavar="1pt|METRIC=1pt",
            help="Exit with 3 unless the accuracy, or METRIC, is shown to be worse by less than this; repeatable.",
        ),
    ] = None,
    every: Annotated[bool, typer.Option("--every", help="Show every figure, and not only those that changed.")] = False,
    fail_on_loss: Annotated[
        bool, typer.Option("--fail-on-loss", help="Exit with 3 when a figure got significantly worse.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print comparison.json instead of the tables.")] = False,
) -> None:
    """Show what got better and what got worse between two audits, image by image where both used the same images."""
    with loading("comparing"):
        from snellen.auditing.compare.compare import compare_records
        from snellen.auditing.compare.margins import parse_margins
        from snellen.auditing.compare.page import render_comparison
        from snellen.auditing.compare.run_record import RunRecord
        from snellen.core.run import canonical_json, write_atomically

        earlier, later = RunRecord.read(first), RunRecord.read(second)
        margins = parse_margins(not_worse_than)
        comparison = compare_records(earlier, later, margin=margin, not_worse_than=margins)
    if out is not None:
        page = render_comparison(comparison, earlier.report, later.report)
        try:
            write_atomically(out / "comparison.json", canonical_json(comparison.to_json()))
            write_atomically(out / "comparison.html", page.encode("utf-8", "replace"))
        except OSError as error:
            raise InputError(f"cannot write to {out}: {error.strerror or error}") from error
    if as_json:
        typer.echo(canonical_json(comparison.to_json()), nl=False)
    else:
        _show(comparison, out, every=every)
    if (fail_on_loss and comparison.losses) or any(one.verdict != "met" for one in comparison.not_worse):
        raise typer.Exit(EXIT_GATE)


_COLOURS = {"worse": "red", "new": "red", "better": "green", "mended": "green", "same": "default",
            "met": "green", "not met": "red", "undecided": "yellow"}  # fmt: skip


def _show(comparison: Comparison, out: Path | None, *, every: bool) -> None:
    from rich.table import Table

    from snellen.auditing.compare.comparison import percent, shown

    console = terminal()
    first, second = comparison.first, comparison.second
    console.print(f"[bold]{markup(first.model)}[/] → [bold]{markup(second.model)}[/] on {markup(second.data)}")
    how = "each compared with itself" if comparison.paired else "[yellow]not paired[/]"
    console.print(f"{comparison.shared} images, {how}; differences are second − first\n")
    for margin in comparison.not_worse:
        console.print(f"{_word(margin.verdict)}  {markup(f'{margin}: {margin.words}')}\n", soft_wrap=True)
    figures = [one for one in comparison.figures if every or one.verdict in ("worse", "better")]
    if figures:
        rows = [[*shown(one), one.verdict] for one in figures]
        heads = ["first", "second", "change", "95 % interval", "verdict"]
        table = Table("figure", *heads, box=None, pad_edge=False)
        table.columns[0].overflow = "fold"
        for column in table.columns[1:]:
            column.no_wrap, column.justify = True, "right"
        table.columns[-1].justify = "left"
        # Two blanks stand between columns; the name gets what is left.
        taken = sum(max(map(len, cells)) + 2 for cells in zip(heads, *rows, strict=True))
        for one, cells in zip(figures, rows, strict=True):
            name = folded(harmless(one.name), console.width - taken)
            table.add_row(markup(name), *cells[:-1], _word(one.verdict))
        show_table(console, table)
    rest = {
        verdict: sum(one.verdict == verdict for one in comparison.figures)
        for verdict in ("worse", "better", "same", "unclear", "not compared")
    }
    console.print(f"\nFigures: {', '.join(f'{count} {verdict}' for verdict, count in rest.items() if count)}")
    if comparison.findings:
        table = Table("\nverdict", "\nfirst harm", "\nsecond harm", "\nfinding", box=None, pad_edge=False)
        for column in table.columns[:3]:
            column.no_wrap = True
        for finding in comparison.findings:
            harms = percent(finding.first_harm), percent(finding.second_harm)
            table.add_row(_word(finding.verdict), *harms, markup(finding.title))
        show_table(console, table)
    if comparison.acuities:
        table = Table("\nacuity", "\nfirst", "\nsecond", "\ndifference", "\n95 % interval", box=None, pad_edge=False)
        for column in table.columns[1:]:
            column.no_wrap, column.justify = True, "right"
        for acuity in comparison.acuities:
            ends = f"{acuity.low:+.2f} to {acuity.high:+.2f}"
            reached = [
                f"{'≥ ' if censored else ''}{value:.2f}"
                for value, censored in (
                    (acuity.first, acuity.first_censored),
                    (acuity.second, acuity.second_censored),
                )
            ]
            table.add_row(markup(acuity.name), *reached, f"{acuity.difference:+.2f}", ends)
        show_table(console, table)
    for note in comparison.notes[2:]:
        console.print(f"\n[dim]{markup(note)}[/]")
    if out is not None:
        typer.echo(harmless(f"\nWritten: {out / 'comparison.html'}, {out / 'comparison.json'}"))


def folded(name: str, width: int) -> str:
    r"""A dotted name on lines of a width, broken after dots, and after underscores where a part is too long.

    >>> folded("corruption.gaussian_noise.1.accuracy", 18).split("\n")
    ['corruption.', ' gaussian_noise.1.', ' accuracy']
    >>> folded("clean.accuracy", 18)
    'clean.accuracy'
    """
    parts = re.findall(r"[^.]+\.?|\.", name)
    pieces = [p for part in parts for p in ([part] if len(part) < width else re.findall(r"[^_]+_?|_", part))]
    lines = [""]
    for piece in pieces:
        if len(lines[-1]) + len(piece) <= width or not lines[-1].strip():
            lines[-1] += piece
        else:
            lines.append(f" {piece}")
    return "\n".join(lines)


def _word(verdict: str) -> str:
    return f"[{_COLOURS.get(verdict, 'dim')}]{verdict}[/]"
