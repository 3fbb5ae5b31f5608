"""``snellen reproduce``."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from snellen.cli.progress import TerminalProgress
from snellen.cli.text import markup

if TYPE_CHECKING:
    from snellen.reproduction.result import Result


class ScaleOption(StrEnum):
    """How large the experiment is."""

    smoke = "smoke"
    small = "small"
    full = "full"


def reproduce(
    system: Annotated[str, typer.Argument(help="Number or acronym of a published system; see: snellen systems")],
    scale: Annotated[
        ScaleOption,
        typer.Option(help="smoke: all stages on two images; small: minutes on a CPU; full: the paper's table."),
    ] = ScaleOption.small,
    seeds: Annotated[int, typer.Option(min=1, help="How many seeds; --record needs at least 3.")] = 3,
    record: Annotated[bool, typer.Option("--record", help="Write results/NAME.json in this folder.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Measure a published system's claims here, beside its baselines. Exit 0 when all hold, 1 when one does not."""
    from snellen.core.run import canonical_json
    from snellen.reproduction.runner import reproduce as run

    with TerminalProgress() as progress:
        result = run(
            system, scale=scale.value, seeds=seeds, record_in=Path("results") if record else None, progress=progress
        )
    if as_json:
        typer.echo(canonical_json(result.model_dump(mode="json")), nl=False)
    else:
        _show(result)
    raise typer.Exit(0 if result.holds else 1)


def _show(result: Result) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console()
    console.print(f"[bold]{markup(result.title)}[/] at scale {result.scale}, {result.seeds} seeds", highlight=False)
    table = Table("claim", "statement", "ours", "baseline", "95 % interval", "holds", box=None, pad_edge=False)
    for claim in result.claims:
        baseline = "" if claim.baseline is None else f"{claim.baseline:.4g}"
        interval = f"{claim.low:.4g} – {claim.high:.4g}"
        verdict = "[green]yes[/]" if claim.holds else "[red]no[/]"
        table.add_row(claim.id, markup(claim.statement), f"{claim.ours:.4g}", baseline, interval, verdict)
    console.print(table)
    for stand_in in result.stand_ins:
        console.print(f"[dim]stand-in:[/] {markup(stand_in)}", highlight=False)
