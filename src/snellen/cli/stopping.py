"""What a command that fills a folder says when it stops before its end."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import typer

from snellen.core.errors import UnreachableError, UnwritableError, WorkerError


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
            typer.echo(f"stopped; {folder} is incomplete, and {again} resumes where this stopped", err=True)
        raise
