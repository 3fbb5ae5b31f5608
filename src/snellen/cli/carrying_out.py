"""What every command that fills a folder does with its verb: plan it, or do it and show what came out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from snellen.cli.engine_options import ended_like_ctrl_c
from snellen.cli.progress import TerminalProgress
from snellen.cli.stopping import show_how_to_resume
from snellen.cli.summary import show_summary

if TYPE_CHECKING:
    from snellen.runs.record import RunResult


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
    from snellen.runs.estimate import plan

    if dry_run:
        estimate = plan(verb, *arguments, out=folder, **options)
        typer.echo(canonical_json(estimate.model_dump(mode="json")) if as_json else str(estimate), nl=not as_json)
        return
    with ended_like_ctrl_c(), show_how_to_resume(folder, given), TerminalProgress() as progress:
        made = verb(*arguments, out=folder, progress=progress, **options)
    if as_json:
        typer.echo(canonical_json(made.to_json()), nl=False)
    elif made.note is not None:
        typer.echo(made.note)
    else:
        show_summary(made.summary(), folder)
