"""A command that fills a folder: which one, its plan or its work, how to resume it, and what it shows at the end."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from snellen.cli.engine_options import ended_like_ctrl_c
from snellen.cli.progress import TerminalProgress
from snellen.cli.shown_table import show_table
from snellen.cli.text import markup, terminal
from snellen.core.errors import InputError, UnreachableError, UnwritableError, WorkerError
from snellen.core.interruption import how_to_resume

if TYPE_CHECKING:
    from snellen.runs.record import RunResult, Summary


def free_folder(stem: str) -> Path:
    """First of STEM-1, STEM-2, … that does not exist here.

    >>> free_folder("no-such-folder").name
    'no-such-folder-1'
    """
    number = 1
    while Path(f"{stem}-{number}").exists():
        number += 1
    return Path(f"{stem}-{number}")


def check_named(folder: Path, beside: str) -> None:
    """Refuse a folder without a name of its own where something lies beside it under its name.

    >>> check_named(Path("labelled"), "embeddings")

    Args:
        folder: that was named with --out.
        beside: what lies there, in a word, as in NAME-embeddings.

    Raises:
        InputError: "." or "..", or the root of a disk.
    """
    if folder.name in ("", ".."):
        raise InputError(
            f"--out {folder} has no name of its own, and {beside} are written beside it as NAME-{beside}; name a new "
            f"folder, such as --out labelled"
        )


@contextmanager
def show_how_to_resume(folder: Path, given: Path | None) -> Iterator[None]:
    """Print how to resume, on standard error, when the block inside stops: Ctrl-C, a full disk, a server that is away.

    Args:
        folder: what is filled.
        given: the folder that was named on the command line; None where it was chosen.
    """
    try:
        yield
    except (KeyboardInterrupt, UnreachableError, UnwritableError, WorkerError) as stopped:
        if os.path.exists(folder) or isinstance(stopped, KeyboardInterrupt):
            again = "the same command" if given else f"the same command with --out {shlex.quote(str(folder))}"
            typer.echo(how_to_resume(folder, again), err=True)
        raise


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


def show_plan(
    verb: Callable[..., object],
    *arguments: object,
    as_json: bool,
    **options: Any,  # noqa: ANN401 - what the verb takes
) -> None:
    """Print what a call of a verb would cost, as lines or as JSON, and do nothing."""
    from snellen.core.run import canonical_json
    from snellen.runs.estimate import plan

    estimate = plan(verb, *arguments, **options)
    typer.echo(canonical_json(estimate.model_dump(mode="json")) if as_json else str(estimate), nl=not as_json)


def carry_out(
    verb: Callable[..., RunResult],
    *arguments: object,
    folder: Path,
    given: Path | None,
    as_json: bool,
    dry_run: bool,
    **options: Any,  # noqa: ANN401 - what the verb takes
) -> None:
    """Run a verb with a bar, and print its record or a summary of it.

    Args:
        verb: a function of :mod:`snellen.verbs`, or of a system.
        arguments: of the verb.
        folder: that is filled.
        given: the folder that was named on the command line; None where it was chosen.
        as_json: print the record.
        dry_run: print what it would cost, and do nothing.
        options: of the verb.
    """
    from snellen.core.run import canonical_json

    if dry_run:
        show_plan(verb, *arguments, as_json=as_json, out=folder, **options)
        return
    with ended_like_ctrl_c(), show_how_to_resume(folder, given), TerminalProgress() as progress:
        made = verb(*arguments, out=folder, progress=progress, **options)
    if as_json:
        typer.echo(canonical_json(made.to_json()), nl=False)
    elif made.note is not None:
        typer.echo(made.note)
    else:
        show_summary(made.summary(), folder)
