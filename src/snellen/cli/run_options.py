"""Options that every command that runs a model over images has, in the same words and the same groups of its help."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypedDict

import typer

from snellen.core.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from snellen.core.images import ImageSet
    from snellen.core.progress import Progress

#: Groups of options in help texts, in their order; what matters first stands in none.
DATA_PANEL = "How model and images are read"
RUN_PANEL = "Where and how long it runs"
PRIVACY_PANEL = "What is kept, and who may be reached"
GATE_PANEL = "Requirements (exit code 3)"

ClassesOption = Annotated[
    Path | None, typer.Option(help="File with the class names, one a line.", rich_help_panel=DATA_PANEL)
]
DeviceOption = Annotated[str, typer.Option(help="cpu or cuda.", rich_help_panel=RUN_PANEL)]
WorkersOption = Annotated[
    int,
    typer.Option(min=0, help="Threads that read images ahead. 0: the main thread reads.", rich_help_panel=RUN_PANEL),
]
SeedOption = Annotated[int, typer.Option(help="Seed of everything random.", rich_help_panel=RUN_PANEL)]
ColumnOption = Annotated[
    list[str] | None,
    typer.Option(
        metavar="MEANING=NAME",
        help="What a column of a table means, repeatable: --column image=file --column label=dx --column unit=patient "
        "--column group=hospital.",
        rich_help_panel=DATA_PANEL,
    ),
]
MasksOption = Annotated[
    Path | None,
    typer.Option(metavar="FOLDER", help="Masks of the objects, called like the images.", rich_help_panel=DATA_PANEL),
]
TableOption = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="CSV or Parquet with a column of file names; --column says what its other columns mean.",
        rich_help_panel=DATA_PANEL,
    ),
]
AllowRejectedOption = Annotated[
    bool,
    typer.Option(
        "--allow-rejected",
        help="Give a result also where more than 5 % of the images cannot be used.",
        rich_help_panel=DATA_PANEL,
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print the record as JSON instead of the summary.")]


class Reading(TypedDict):
    """How images are read: arguments of :func:`snellen.load_images`."""

    columns: Mapping[str, str] | None
    masks: Path | None
    table: Path | None


def reading(column: ColumnOption = None, masks: MasksOption = None, table: TableOption = None) -> Reading:
    """The options that say how images are read, as arguments of :func:`snellen.load_images`."""
    return {"columns": read_columns(column), "masks": masks, "table": table}


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


def read_images(data: str, how: Reading, progress: Progress | None) -> ImageSet:
    """The images of a command."""
    from snellen.data.references import load_images

    return load_images(data, progress=progress, **how)
