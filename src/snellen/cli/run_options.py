"""Options that every command that runs a model over images has, in the same words."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from snellen.core.errors import InputError

ClassesOption = Annotated[Path | None, typer.Option(help="File with the class names, one a line.")]
DeviceOption = Annotated[str, typer.Option(help="cpu or cuda.")]
WorkersOption = Annotated[int, typer.Option(min=0, help="Threads that read images ahead; 0 reads them in between.")]
SeedOption = Annotated[int, typer.Option(help="Seed of everything random.")]
ColumnOption = Annotated[
    list[str] | None,
    typer.Option(
        metavar="MEANING=NAME",
        help="What a column of a table means, repeatable: --column image=file --column label=dx --column unit=patient.",
    ),
]


def read_columns(options: list[str] | None) -> dict[str, str] | None:
    """``MEANING=NAME`` of each option as a mapping; None where there are none.

    >>> read_columns(["label=dx"])
    {'label': 'dx'}
    """
    found: dict[str, str] = {}
    for option in options or ():
        meaning, equals, name = option.partition("=")
        if not (meaning and equals and name) or meaning in found:
            raise InputError(f"--column {option!r}: expected MEANING=NAME, each meaning once, such as label=dx")
        found[meaning] = name
    return found or None
