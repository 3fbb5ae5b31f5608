"""``snellen synthesize``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from snellen.cli.engine_options import DryRunOption
from snellen.cli.filled_folder import carry_out, free_folder
from snellen.cli.progress import loading
from snellen.cli.run_options import RUN_PANEL, JsonOption, SeedOption

if TYPE_CHECKING:
    from snellen.core.method import Method
    from snellen.runs.runner import Running


def synthesize(
    methods: list[Method],
    data: Annotated[
        str,
        typer.Argument(
            help="What to generate images of: classes by name ('classes:star,heart'), or labelled real images by "
            "reference (a folder, a manifest), whose classes are taken. Of these, the images of --split are used."
        ),
    ],
    count: Annotated[
        int | None, typer.Option(min=1, help="Images of each class, for each setting.", show_default="50")
    ] = None,
    one_each: Annotated[
        bool, typer.Option("--one-each", help="One image for each of DATA instead, with its path and class.")
    ] = False,
    split: Annotated[
        Literal["train", "val", "test"],
        typer.Option(help="Which images of DATA are imitated; what comes belongs to the same split."),
    ] = "train",
    out: Annotated[
        Path | None,
        typer.Option(
            help="New folder; the same command resumes where it stopped.", show_default="snellen-synthesize-N"
        ),
    ] = None,
    batch_size: Annotated[
        int, typer.Option(min=1, help="Images at once, and what a stopped run loses.", rich_help_panel=RUN_PANEL)
    ] = 32,
    seed: SeedOption = 0,
    sheet: Annotated[
        bool, typer.Option("--sheet/--no-sheet", help="Also draw examples, and a grid of classes.")
    ] = True,
    *,
    running: Running,
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
) -> None:
    """Make labelled training images with a generator, and measure whether they help."""
    folder = out or free_folder("snellen-synthesize")
    with loading("reading classes"):
        from snellen.methods.synthesis.synthetic_set import RECORD, WHAT
        from snellen.runs.unfinished import check_free
        from snellen.verbs.synthesize import given_source
        from snellen.verbs.synthesize import synthesize as write_synthetic

        check_free(folder, RECORD, WHAT)
        source = given_source(data, split)
    carry_out(
        write_synthetic,
        methods,
        source,
        folder=folder,
        given=out,
        as_json=as_json,
        dry_run=dry_run,
        count=count,
        one_each=one_each,
        split=split,
        batch_size=batch_size,
        seed=seed,
        sheet=sheet,
        **running,
    )
