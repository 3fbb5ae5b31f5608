"""``snellen monitor``."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from snellen.cli.gate_options import EXIT_GATE
from snellen.cli.privacy_options import AllowRemoteOption
from snellen.cli.progress import TerminalProgress, loading
from snellen.cli.run_options import ColumnOption, SeedOption, TableOption, read_columns
from snellen.cli.text import harmless
from snellen.core.errors import InputError


class EveryName(StrEnum):
    """Length of the windows over time."""

    day = "day"
    week = "week"
    month = "month"
    quarter = "quarter"
    year = "year"


def monitor(
    run: Annotated[Path, typer.Argument(help="Run directory of a finished audit of labelled images.")],
    data: Annotated[
        str,
        typer.Argument(
            help="Images from production, as of snellen audit; labels are not read. Or the run directory of an "
            "audit of them by the same model."
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(help="Folder for monitoring.html, .md and .json; the same command resumes where it stopped."),
    ] = None,
    date: Annotated[
        str | None,
        typer.Option(metavar="COLUMN", help="Column of the table of the images with their dates (ISO 8601)."),
    ] = None,
    every: Annotated[
        EveryName | None,
        typer.Option(help="Length of the windows over time.", show_default="shortest with 100 images on average"),
    ] = None,
    column: ColumnOption = None,
    table: TableOption = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Images in one pass.")] = 64,
    limit: Annotated[int | None, typer.Option(min=1, help="Take at most so many images, drawn at random.")] = None,
    seed: SeedOption = 0,
    device: Annotated[
        str | None,
        typer.Option(help="cpu, cuda, cuda:N or mps.", show_default="where the audit ran it"),
    ] = None,
    allow_remote: AllowRemoteOption = None,
    fail_below: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=1,
            help="Exit with 3 unless the lower end of the estimated accuracy of all images is at least this; also "
            "where it cannot be estimated.",
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print monitoring.json instead of the text.")] = False,
) -> None:
    """Estimate the accuracy on production images without labels, and their drift from an audited set."""
    with loading("reading the run"):
        from snellen.auditing.compare.production import monitor as watch
        from snellen.core.run import canonical_json
        from snellen.data.references import load_images

        columns = read_columns(column)
        is_run = (Path(data) / "manifest.json").is_file()
        if is_run and table is not None:
            raise InputError(f"--table {table} came with a run directory; name the images themselves")
        images = data if is_run else load_images(data, columns=columns, table=table)
    with TerminalProgress() as progress:
        found = watch(
            run,
            images,
            dates=date,
            every=None if every is None else every.value,
            columns=columns if is_run else None,
            out=out,
            batch_size=batch_size,
            limit=limit,
            seed=seed,
            device=device,
            progress=progress,
        )
    typer.echo(canonical_json(found.to_json()) if as_json else harmless(str(found)), nl=not as_json)
    if out is not None and not as_json:
        typer.echo(harmless(f"\nWritten: {out / 'monitoring.html'}, and monitoring.md and .json beside it"))
    if fail_below is not None and (found.whole.accuracy is None or found.whole.accuracy.low < fail_below):
        raise typer.Exit(EXIT_GATE)
