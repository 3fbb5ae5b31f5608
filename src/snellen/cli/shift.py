"""``snellen shift``."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from snellen.cli.engine_options import DryRunOption
from snellen.cli.filled_folder import carry_out, free_folder
from snellen.cli.privacy_options import PseudonymsOption
from snellen.cli.progress import loading
from snellen.cli.run_options import (
    RUN_PANEL,
    JsonOption,
    ReadingOptions,
    SeedOption,
    WorkersOption,
    read_images,
)

if TYPE_CHECKING:
    from snellen.core.method import Method
    from snellen.runs.runner import Running


class FormatOption(StrEnum):
    """What is written."""

    folder = "folder"
    medmnist_c = "medmnist-c"


def shift(
    methods: list[Method],
    data: Annotated[
        str,
        typer.Argument(
            help="Images: a folder (class subfolders), a manifest (.csv, .parquet), a MedMNIST-style .npz, "
            "bundled:fashion-mnist."
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(help="New folder; the same command resumes where it stopped.", show_default="snellen-shift-N"),
    ] = None,
    severity: Annotated[
        list[float] | None,
        typer.Option(help="In 0 to 5; repeat it for several.", show_default="1 2 3 4 5; 5 for edits of objects"),
    ] = None,
    format: Annotated[
        FormatOption,
        typer.Option(help="folder: PNG files and manifest.csv; medmnist-c: an .npz archive for each method."),
    ] = FormatOption.folder,
    batch_size: Annotated[
        int, typer.Option(min=1, rich_help_panel=RUN_PANEL, help="Images in one pass; changes no pixel.")
    ] = 32,
    workers: WorkersOption = 0,
    limit: Annotated[int | None, typer.Option(min=1, help="Shift at most so many images, drawn at random.")] = None,
    seed: SeedOption = 0,
    contact_sheet: Annotated[
        bool, typer.Option("--contact-sheet/--no-contact-sheet", help="Also draw a few examples for each method.")
    ] = True,
    pseudonyms: PseudonymsOption = None,
    segmenter: Annotated[
        str | None,
        typer.Option(
            help="What finds the objects that are edited, in place of masks: isnet:FILE.onnx, hf:FOLDER, grabcut, "
            "bundled:scene-sam.",
            show_default="the column mask of the data",
        ),
    ] = None,
    *,
    reading: ReadingOptions,
    running: Running,
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
) -> None:
    """Write changed copies of images, such as with noise or fog, as a data set that any tool can read."""
    folder = out or free_folder("snellen-shift")
    with loading("reading images") as spinner:
        from snellen.runs.settings import checked_severities, named_settings
        from snellen.runs.unfinished import check_free
        from snellen.verbs.shift import shift as write_shifted
        from snellen.verbs.shifted_set import RECORD, WHAT

        # What can be refused without the images is refused before they are read.
        strengths = None if not severity else checked_severities(severity)
        named_settings(methods)
        check_free(folder, RECORD, WHAT)
        images = read_images(data, reading, spinner)
    carry_out(
        write_shifted,
        images,
        methods,
        folder=folder,
        given=out,
        as_json=as_json,
        dry_run=dry_run,
        format=format.value,
        batch_size=batch_size,
        workers=workers,
        limit=limit,
        seed=seed,
        contact_sheet=contact_sheet,
        pseudonyms=pseudonyms,
        segmenter=segmenter,
        severities=strengths,
        **running,
    )
