"""``snellen certify``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from snellen.cli.carrying_out import carry_out
from snellen.cli.engine_options import DryRunOption
from snellen.cli.free_folder import free_folder
from snellen.cli.privacy_options import AllowRemoteOption, PseudonymsOption
from snellen.cli.progress import loading
from snellen.cli.run_options import ClassesOption, DeviceOption, ModelOptions, SeedOption, WorkersOption

if TYPE_CHECKING:
    from snellen.core.method import Method
    from snellen.runs.runner import Running


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
        typer.Option(help="New folder; the same command goes on where it stopped.", show_default="snellen-certify-N"),
    ] = None,
    classes: ClassesOption = None,
    device: DeviceOption = "cpu",
    allow_remote: AllowRemoteOption = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Images in one shard: what a stopped run loses.")] = 8,
    workers: WorkersOption = 0,
    limit: Annotated[int | None, typer.Option(min=1, help="Certify at most so many images, drawn at random.")] = None,
    seed: SeedOption = 0,
    pseudonyms: PseudonymsOption = None,
    *,
    model_options: ModelOptions,
    running: Running,
    dry_run: DryRunOption = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print certify.json instead of the summary.")] = False,
) -> None:
    """Prove that no small change of an image can change its decision: certified accuracy over radii."""
    folder = out or free_folder("snellen-certify")
    with loading("reading images and model") as spinner:
        from snellen.data.references import load_images
        from snellen.models.classifiers.references import load_classifier
        from snellen.runs.settings import named_settings
        from snellen.runs.unfinished import check_free
        from snellen.verbs.certified_set import RECORD, WHAT
        from snellen.verbs.certify import certify as run_certify
        from snellen.verbs.certify import largest_radii

        # What can be refused without model and images is refused before they are read.
        settings = named_settings(methods, "certificates")
        check_free(folder, RECORD, WHAT)
        images = load_images(data, progress=spinner)
        classifier = load_classifier(model, classes, device=device, **model_options)
    if not as_json and all(setting.method.missing(classifier, images) is None for setting in settings):
        for title, radius in largest_radii(classifier, settings).items():
            typer.echo(f"{title}: with so many samples, no radius can exceed {radius:.4f}")
    carry_out(
        run_certify,
        classifier,
        images,
        methods,
        folder=folder,
        given=out,
        as_json=as_json,
        dry_run=dry_run,
        batch_size=batch_size,
        workers=workers,
        limit=limit,
        seed=seed,
        pseudonyms=pseudonyms,
        **running,
    )
