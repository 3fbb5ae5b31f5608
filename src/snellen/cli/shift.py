"""``snellen shift``."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from snellen.cli.free_folder import free_folder
from snellen.cli.privacy_options import PseudonymsOption
from snellen.cli.progress import TerminalProgress, loading
from snellen.cli.run_options import SeedOption, WorkersOption
from snellen.cli.stopping import stopped_told
from snellen.cli.text import markup, terminal

if TYPE_CHECKING:
    from snellen.core.method import Method
    from snellen.verbs.shifted_set import ShiftedSet


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
        typer.Option(help="New folder; the same command goes on where it stopped.", show_default="snellen-shift-N"),
    ] = None,
    severity: Annotated[
        list[float] | None,
        typer.Option(help="In 0 to 5; repeat it for several.", show_default="1 2 3 4 5; 5 for edits of objects"),
    ] = None,
    format: Annotated[
        FormatOption,
        typer.Option(help="folder: PNG files and manifest.csv; medmnist-c: an .npz archive for each method."),
    ] = FormatOption.folder,
    batch_size: Annotated[int, typer.Option(min=1, help="Images in one pass; changes no pixel.")] = 32,
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
    as_json: Annotated[bool, typer.Option("--json", help="Print shift.json instead of the summary.")] = False,
) -> None:
    """Write the same images under a nuisance, as a data set that any tool can read."""
    folder = out or free_folder("snellen-shift")
    with loading("reading images") as spinner:
        from snellen.core.run import canonical_json
        from snellen.data.references import load_images
        from snellen.runs.settings import checked_severities, named_settings
        from snellen.runs.unfinished import check_free
        from snellen.verbs.shift import shift as write_shifted
        from snellen.verbs.shifted_set import RECORD, WHAT

        # What can be refused without the images is refused before they are read.
        strengths = None if not severity else checked_severities(severity)
        named_settings(methods)
        check_free(folder, RECORD, WHAT)
        images = load_images(data, progress=spinner)
    with stopped_told(folder, out), TerminalProgress() as progress:
        written = write_shifted(
            images,
            methods,
            out=folder,
            format=format.value,
            batch_size=batch_size,
            workers=workers,
            limit=limit,
            seed=seed,
            contact_sheet=contact_sheet,
            pseudonyms=pseudonyms,
            segmenter=segmenter,
            progress=progress,
            severities=strengths,
        )
    if as_json:
        typer.echo(canonical_json(written.to_json()), nl=False)
    else:
        _show(written)


#: Rejected images that are named; all are in shift.json.
_NAMED = 5


def _show(written: ShiftedSet) -> None:
    from rich.table import Table

    console = terminal()
    severities = written.plan["severities"]
    table = Table("setting", "severities", "images", box=None, pad_edge=False)
    table.columns[2].justify = "right"
    for setting, count in written.written.items():
        told = " ".join(f"{severity:g}" for severity in severities)
        table.add_row(markup(setting), told, f"{len(severities)} × {count}")
    console.print(table)
    for rejected in written.rejected[:_NAMED]:
        where = "" if rejected.setting is None else f" under {rejected.setting}"
        console.print(f"[yellow]rejected{markup(where)}:[/] {markup(rejected.id)}: {markup(rejected.reason)}")
    if any(rejected.setting is not None for rejected in written.rejected) and written.plan.get("same_images"):
        console.print("[yellow]An image that one edit cannot be made of is left out of all edits.[/]")
    if len(written.rejected) > _NAMED:
        console.print(f"… {len(written.rejected)} rejected in all, see shift.json")
    for path in (*filter(None, [written.manifest]), *written.archives, *written.contact_sheets):
        console.print(f"Written: {markup(str(path))}", soft_wrap=True)
