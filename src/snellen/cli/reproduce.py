"""``snellen reproduce``."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from snellen.cli.progress import TerminalProgress
from snellen.cli.shown_table import show_table
from snellen.cli.text import markup, terminal
from snellen.core.errors import InputError

if TYPE_CHECKING:
    from snellen.reproduction.result import Result

#: Where records are written.
_RESULTS = Path("results")


class ScaleOption(StrEnum):
    """How large the experiment is."""

    smoke = "smoke"
    small = "small"
    full = "full"


def reproduce(
    systems: Annotated[
        list[str],
        typer.Argument(metavar="SYSTEM...", help="Name, number or acronym of a published system; see: snellen systems"),
    ],
    scale: Annotated[
        ScaleOption,
        typer.Option(help="smoke: all stages on two images; small: minutes on a CPU; full: the paper's table."),
    ] = ScaleOption.small,
    seeds: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Seeds of a run that is not recorded.",
            show_default="1 at scale smoke, else as many as the budget says",
        ),
    ] = None,
    record: Annotated[
        bool, typer.Option("--record", help="Write results/NAME.json in this folder, with the seeds of the budget.")
    ] = False,
    queue: Annotated[
        bool,
        typer.Option(
            "--queue",
            help="Record the systems one seed after the other, at the lowest priority. Safe to stop: the same command "
            "resumes.",
        ),
    ] = False,
    stamp: Annotated[
        bool,
        typer.Option("--stamp", help="Keep a record after a change of code that gives the same values for one seed."),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Measure a published system's claims here, beside its baselines. Exit 0 when all hold, 1 when one does not."""
    from snellen.core.run import canonical_json
    from snellen.reproduction import runner

    if sum((record, queue, stamp)) > 1 or (seeds is not None and (queue or stamp)) or (queue and as_json):
        raise InputError("--record, --queue and --stamp exclude each other; --seeds and --json do not go with --queue")
    if queue:
        with TerminalProgress() as progress:
            results = runner.run_queue(systems, _RESULTS, scale=scale.value, progress=progress, finished=_tell)
        for result in results:
            _show(result)
        raise typer.Exit(0 if all(result.holds for result in results) else 1)
    if len(systems) > 1:
        raise InputError("measure one system at a time, or record several with --queue")
    with TerminalProgress() as progress:
        if stamp:
            result = runner.stamp_record(systems[0], _RESULTS, progress=progress)
        else:
            result = runner.reproduce(
                systems[0],
                scale=scale.value,
                seeds=seeds,
                record_in=_RESULTS if record else None,
                progress=progress,
                announce=_announce,
            )
    if as_json:
        typer.echo(canonical_json(result.model_dump(mode="json")), nl=False)
    else:
        _show(result)
    raise typer.Exit(0 if result.holds else 1)


def _announce(line: str) -> None:
    typer.echo(line, err=True)


def _tell(name: str, result: Result | None) -> None:
    typer.echo(f"{name}: {'a seed is finished' if result is None else 'recorded'}", err=True)


def _show(result: Result) -> None:
    from rich.table import Table

    console = terminal()
    seeds = "1 seed" if result.seeds == 1 else f"{result.seeds} seeds"
    console.print(f"[bold]{markup(result.title)}[/] at scale {result.scale}, {seeds}", highlight=False)
    if not result.claims:
        console.print("All stages ran. A smoke run judges no claim.")
        return
    for gate in result.gates:
        opened = "[green]open[/]" if gate.open else "[red]closed[/]"
        value = "missing" if gate.value is None else f"{gate.value:.4g}"
        console.print(f"gate {gate.id}: {markup(gate.statement)} {value}: {opened}", highlight=False)
    table = Table("claim", "statement", "ours", "baseline", "95 % interval", "verdict", box=None, pad_edge=False)
    for claim in result.claims:
        ours = "missing" if claim.ours is None else f"{claim.ours:.4g}"
        baseline = "" if claim.baseline is None else f"{claim.baseline:.4g}"
        interval = "" if claim.low is None or claim.high is None else f"{claim.low:.4g} – {claim.high:.4g}"
        colour = {"holds": "green", "fails": "red"}.get(claim.verdict, "yellow")
        verdict = f"[{colour}]{claim.verdict}[/]" + (f" ({markup(claim.reason)})" if claim.reason else "")
        table.add_row(claim.id, markup(claim.statement), ours, baseline, interval, verdict)
    show_table(console, table)
    for stand_in in result.stand_ins:
        console.print(f"[dim]stand-in:[/] {markup(stand_in)}", highlight=False)
