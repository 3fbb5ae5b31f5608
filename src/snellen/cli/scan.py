"""``snellen scan``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from snellen.cli.carrying_out import carry_out
from snellen.cli.engine_options import DryRunOption
from snellen.cli.free_folder import free_folder
from snellen.cli.privacy_options import AllowRemoteOption, PseudonymsOption
from snellen.cli.progress import loading
from snellen.cli.run_options import ClassesOption, DeviceOption, ModelOptions, SeedOption
from snellen.core.errors import InputError

if TYPE_CHECKING:
    from snellen.core.method import Method
    from snellen.runs.runner import Running


def scan(
    methods: list[Method],
    places: Annotated[
        list[str],
        typer.Argument(
            metavar="[MODEL] DATA",
            help="MODEL: reference of a classifier, where the method looks at one: bundled:NAME, "
            "timm:NAME@FILE, torchvision:NAME@FILE, hf:FOLDER, artifact:FOLDER. DATA: images, with or without "
            "labels: one image file, a folder, a manifest (.csv, .parquet), a MedMNIST-style .npz, "
            "bundled:fashion-mnist.",
        ),
    ],
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
    *,
    model_options: ModelOptions,
    running: Running,
    dry_run: DryRunOption = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print scan.json instead of the summary.")] = False,
) -> None:
    """Look for something planted, wrong or unwanted: in images, or in a classifier by means of images."""
    if len(places) > 2:
        raise InputError(f"a scan takes [MODEL] DATA; got {len(places)} places: {', '.join(places)}")
    reference, data = places[0] if len(places) == 2 else None, places[-1]
    folder = out or free_folder("snellen-scan")
    with loading("reading images and model") as spinner:
        from snellen.data.references import load_images
        from snellen.models.classifiers.references import load_classifier
        from snellen.runs.settings import named_settings
        from snellen.runs.unfinished import check_free
        from snellen.verbs.scan import needs_classifier
        from snellen.verbs.scan import scan as run_scan
        from snellen.verbs.scanned_set import RECORD, WHAT

        # What can be refused without model and images is refused before they are read.
        for setting in named_settings(methods, "scans"):
            needs_classifier(setting, reference is not None)
        check_free(folder, RECORD, WHAT)
        images = load_images(data, progress=spinner)
        model = None if reference is None else load_classifier(reference, classes, device=device, **model_options)
    carry_out(
        run_scan,
        model,
        images,
        methods,
        folder=folder,
        given=out,
        as_json=as_json,
        dry_run=dry_run,
        limit=limit,
        seed=seed,
        pseudonyms=pseudonyms,
        **running,
    )
