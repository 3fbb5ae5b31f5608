"""``snellen scan``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from snellen.cli.free_folder import free_folder
from snellen.cli.privacy_options import AllowRemoteOption, PseudonymsOption
from snellen.cli.progress import TerminalProgress, loading
from snellen.cli.run_options import ClassesOption, DeviceOption, SeedOption
from snellen.cli.stopping import stopped_told
from snellen.cli.text import markup, terminal

if TYPE_CHECKING:
    from snellen.core.method import Method
    from snellen.verbs.scanned_set import ScannedSet


def scan(
    methods: list[Method],
    data: Annotated[
        str,
        typer.Argument(
            help="Images, with or without labels: one image file, a folder, a manifest (.csv, .parquet), a "
            "MedMNIST-style .npz, bundled:fashion-mnist."
        ),
    ],
    classifier: Annotated[
        str | None,
        typer.Option(
            metavar="MODEL",
            help="Reference of a classifier, where the method looks at one: bundled:NAME, timm:NAME@FILE.safetensors, "
            "torchvision:NAME, hf:FOLDER, artifact:FOLDER.",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="New folder; the same command goes on where it stopped.", show_default="snellen-scan-N"),
    ] = None,
    classes: ClassesOption = None,
    device: DeviceOption = "cpu",
    allow_remote: AllowRemoteOption = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Scan at most so many images, drawn at random.")] = None,
    seed: SeedOption = 0,
    pseudonyms: PseudonymsOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print scan.json instead of the summary.")] = False,
) -> None:
    """Look for something planted, wrong or unwanted: in images, or in a classifier by means of images."""
    folder = out or free_folder("snellen-scan")
    with loading("reading images and model") as spinner:
        from snellen.core.run import canonical_json
        from snellen.data.references import load_images
        from snellen.models.classifiers.references import load_classifier
        from snellen.runs.settings import named_settings
        from snellen.runs.unfinished import check_free
        from snellen.verbs.scan import needs_classifier
        from snellen.verbs.scan import scan as run_scan
        from snellen.verbs.scanned_set import RECORD, WHAT

        # What can be refused without model and images is refused before they are read.
        for setting in named_settings(methods, "scans"):
            needs_classifier(setting, classifier is not None)
        check_free(folder, RECORD, WHAT)
        images = load_images(data, progress=spinner)
        model = None if classifier is None else load_classifier(classifier, classes, device=device)
    with stopped_told(folder, out), TerminalProgress() as progress:
        scanned = run_scan(
            images,
            methods,
            classifier=model,
            out=folder,
            limit=limit,
            seed=seed,
            pseudonyms=pseudonyms,
            progress=progress,
        )
    if as_json:
        typer.echo(canonical_json(scanned.to_json()), nl=False)
    else:
        _show(scanned, folder)


#: Rejected images and files of pictures that are named; all are in scan.json.
_NAMED = 5


def _show(scanned: ScannedSet, folder: Path) -> None:
    from rich.table import Table

    console = terminal()
    plan = scanned.plan
    before = "" if plan["model"] is None else f" before [bold]{markup(plan['model']['name'])}[/]"
    console.print(f"[bold]{markup(plan['data']['name'])}[/]{before}\n")
    table = Table("figure", "value", box=None, pad_edge=False)
    table.columns[1].justify = "right"
    for name, found in scanned.settings.items():
        for figure, value in found.figures.items():
            table.add_row(markup(f"{name}.{figure}"), _told(value))
    if table.row_count:
        console.print(table)
        console.print()
    for name, found in scanned.settings.items():
        console.print(f"{markup(name)}: {markup(found.verdict)}")
        for assumption in found.assumptions:
            console.print(f"- {markup(assumption)}")
        if found.control is not None:
            console.print(f"- control: {markup(found.control)}")
        for rejected in found.rejected[:_NAMED]:
            console.print(f"[yellow]rejected:[/] {markup(rejected.id)}: {markup(rejected.reason)}")
        if len(found.rejected) > _NAMED:
            console.print(f"… {len(found.rejected)} rejected in all, see scan.json")
    for file in (*scanned.files[: _NAMED + 1], "scan.json"):
        console.print(f"Written: {markup(str(folder / file))}", soft_wrap=True)
    if len(scanned.files) > _NAMED + 1:
        console.print(f"… and {len(scanned.files) - _NAMED - 1} more pictures in {markup(str(folder))}")


def _told(value: float | None) -> str:
    """A figure with four decimals, a number of things, or the whole of them, with none."""
    if value is None:
        return "–"
    return f"{value:.0f}" if value >= 1 and value == int(value) else f"{value:.4f}"
