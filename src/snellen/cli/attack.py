"""``snellen attack``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from snellen.cli.engine_options import DryRunOption
from snellen.cli.on_images import ModelChoice, carry_out_on_images
from snellen.cli.run_options import PRIVACY_PANEL, RUN_PANEL, JsonOption, ReadingOptions, WorkersOption

if TYPE_CHECKING:
    from snellen.core.method import Method
    from snellen.runs.runner import Running


def attack(
    methods: list[Method],
    model: Annotated[
        str,
        typer.Argument(
            help="Reference of the classifier: bundled:NAME, timm:NAME@FILE, torchvision:NAME@FILE, onnx:FILE, "
            "hf:FOLDER, artifact:FOLDER, http://HOST:PORT/v2/models/NAME."
        ),
    ],
    data: Annotated[
        str,
        typer.Argument(
            help="Labelled images: a folder (class subfolders), a manifest (.csv, .parquet), a MedMNIST-style .npz, "
            "bundled:fashion-mnist. For attacks on the camera, views of objects: optotypes:solids, meshes:FOLDER."
        ),
    ],
    target: Annotated[
        str | None,
        typer.Option(
            metavar="CLASS",
            help="Class that images of the others are to be taken for, by name or number.",
            show_default="any mistake",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="New folder; the same command resumes where it stopped.", show_default="snellen-attack-N"),
    ] = None,
    batch_size: Annotated[
        int, typer.Option(min=1, help="Images in one pass, and what a stopped run loses.", rich_help_panel=RUN_PANEL)
    ] = 64,
    workers: WorkersOption = 0,
    save_images: Annotated[
        bool,
        typer.Option(
            "--images/--no-images",
            help="Write the adversarial images, and a sheet of examples.",
            rich_help_panel=PRIVACY_PANEL,
        ),
    ] = True,
    *,
    reading: ReadingOptions,
    model_choice: ModelChoice,
    running: Running,
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
) -> None:
    """Search for small changes of images that a classifier gets wrong: accuracy under attack, and the images."""
    carry_out_on_images(
        "snellen.verbs.attack:attack",
        "attacks",
        "snellen.methods.attacks.goal",
        methods,
        model,
        data,
        out=out,
        reading=reading,
        model_choice=model_choice,
        as_json=as_json,
        dry_run=dry_run,
        target=target,
        batch_size=batch_size,
        workers=workers,
        save_images=save_images,
        **running,
    )
