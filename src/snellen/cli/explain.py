"""``snellen explain``."""

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


def unused_options(method: type[Method]) -> tuple[str, ...]:
    """Options that mean nothing to a method: one that describes the model with all of its classes takes no class."""
    from snellen.core.method import Describer

    return ("target",) if issubclass(method, Describer) else ()


def explain(
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
            help="Images, with or without labels: a folder, an image, a manifest (.csv, .parquet), a MedMNIST-style "
            ".npz, bundled:fashion-mnist."
        ),
    ],
    target: Annotated[
        str | None,
        typer.Option(
            metavar="CLASS",
            help="Class whose score is explained, by name or number.",
            show_default="what each image is taken for",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="New folder; the same command resumes where it stopped.", show_default="snellen-explain-N"),
    ] = None,
    batch_size: Annotated[
        int, typer.Option(min=1, help="Images in one shard: what a stopped run loses.", rich_help_panel=RUN_PANEL)
    ] = 8,
    workers: WorkersOption = 0,
    save_images: Annotated[
        bool,
        typer.Option(
            "--images/--no-images",
            help="Write pictures: sheets, masks, and those in the page.",
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
    """Explain decisions by regions, concepts or units, each compared with a random part of equal size."""
    carry_out_on_images(
        "snellen.verbs.explain:explain",
        "explanations",
        "snellen.verbs.explained_set",
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
