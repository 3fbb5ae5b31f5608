"""``snellen scan``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from snellen.cli.engine_options import DryRunOption
from snellen.cli.on_images import ModelChoice, carry_out_on_images
from snellen.cli.run_options import JsonOption, ReadingOptions
from snellen.core.errors import InputError

if TYPE_CHECKING:
    from snellen.core.method import Method
    from snellen.runs.runner import Running
    from snellen.runs.settings import Setting


def scan(
    methods: list[Method],
    places: Annotated[
        list[str],
        typer.Argument(
            metavar="[MODEL] DATA",
            help="MODEL: reference of a classifier, where the method needs one: bundled:NAME, "
            "timm:NAME@FILE, torchvision:NAME@FILE, hf:FOLDER, artifact:FOLDER. DATA: images, with or without "
            "labels: one image file, a folder, a manifest (.csv, .parquet), a MedMNIST-style .npz, "
            "bundled:fashion-mnist.",
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(help="New folder; the same command resumes where it stopped.", show_default="snellen-scan-N"),
    ] = None,
    *,
    reading: ReadingOptions,
    model_choice: ModelChoice,
    running: Running,
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
) -> None:
    """Search classifiers, generators or images for backdoors, poison, edited regions and other faults."""
    if len(places) > 2:
        raise InputError(f"a scan takes [MODEL] DATA; got {len(places)} places: {', '.join(places)}")
    reference, data = places[0] if len(places) == 2 else None, places[-1]

    def refuse(setting: Setting) -> None:
        from snellen.verbs.scan import needs_classifier

        needs_classifier(setting, reference is not None)

    carry_out_on_images(
        "snellen.verbs.scan:scan",
        "scans",
        "snellen.verbs.scanned_set",
        methods,
        reference,
        data,
        out=out,
        reading=reading,
        model_choice=model_choice,
        as_json=as_json,
        dry_run=dry_run,
        refuse=refuse,
        **running,
    )
