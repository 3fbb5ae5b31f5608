"""``snellen certify``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from snellen.cli.engine_options import DryRunOption
from snellen.cli.on_images import ModelChoice, carry_out_on_images
from snellen.cli.run_options import RUN_PANEL, JsonOption, ReadingOptions, WorkersOption

if TYPE_CHECKING:
    from collections.abc import Sequence

    from snellen.core.classifier import Classifier
    from snellen.core.images import ImageSet
    from snellen.core.method import Method
    from snellen.runs.runner import Running
    from snellen.runs.settings import Setting


def certify(
    methods: list[Method],
    model: Annotated[
        str,
        typer.Argument(
            help="Reference of the classifier: artifact:FOLDER of a training for smoothing, or bundled:NAME, "
            "timm:NAME@FILE, torchvision:NAME@FILE, hf:FOLDER."
        ),
    ],
    data: Annotated[
        str,
        typer.Argument(
            help="Images, with or without labels: a folder, a manifest (.csv, .parquet), a MedMNIST-style .npz, "
            "bundled:fashion-mnist."
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(help="New folder; the same command resumes where it stopped.", show_default="snellen-certify-N"),
    ] = None,
    batch_size: Annotated[
        int, typer.Option(min=1, help="Images in one shard: what a stopped run loses.", rich_help_panel=RUN_PANEL)
    ] = 8,
    workers: WorkersOption = 0,
    *,
    reading: ReadingOptions,
    model_choice: ModelChoice,
    running: Running,
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
) -> None:
    """Prove that no small change of an image can change its decision: certified accuracy over radii."""

    def announce(classifier: Classifier, images: ImageSet, settings: Sequence[Setting]) -> None:
        from snellen.verbs.certify import largest_radii

        if not as_json and all(setting.method.missing(classifier, images) is None for setting in settings):
            for title, radius in largest_radii(classifier, settings).items():
                typer.echo(f"{title}: with so many samples, no radius can exceed {radius:.4f}")

    carry_out_on_images(
        "snellen.verbs.certify:certify",
        "certificates",
        "snellen.verbs.certified_set",
        methods,
        model,
        data,
        out=out,
        reading=reading,
        model_choice=model_choice,
        as_json=as_json,
        dry_run=dry_run,
        announce=announce,
        batch_size=batch_size,
        workers=workers,
        **running,
    )
