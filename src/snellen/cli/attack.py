"""``snellen attack``."""

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
        typer.Option(help="New folder; the same command goes on where it stopped.", show_default="snellen-attack-N"),
    ] = None,
    classes: ClassesOption = None,
    device: DeviceOption = "cpu",
    allow_remote: AllowRemoteOption = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Images in one pass, and what a stopped run loses.")] = 64,
    workers: WorkersOption = 0,
    limit: Annotated[int | None, typer.Option(min=1, help="Attack at most so many images, drawn at random.")] = None,
    seed: SeedOption = 0,
    save_images: Annotated[
        bool, typer.Option("--images/--no-images", help="Write the adversarial images, and a sheet of examples.")
    ] = True,
    pseudonyms: PseudonymsOption = None,
    *,
    model_options: ModelOptions,
    running: Running,
    dry_run: DryRunOption = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print attack.json instead of the summary.")] = False,
) -> None:
    """Search for small changes of images that a classifier gets wrong: accuracy under attack, and the images."""
    folder = out or free_folder("snellen-attack")
    with loading("reading images and model") as spinner:
        from snellen.data.references import load_images
        from snellen.methods.attacks.goal import RECORD, WHAT
        from snellen.models.classifiers.references import load_classifier
        from snellen.runs.settings import named_settings
        from snellen.runs.unfinished import check_free
        from snellen.verbs.attack import attack as run_attack

        # What can be refused without model and images is refused before they are read.
        named_settings(methods, "attacks")
        check_free(folder, RECORD, WHAT)
        images = load_images(data, progress=spinner)
        classifier = load_classifier(model, classes, device=device, **model_options)
    carry_out(
        run_attack,
        classifier,
        images,
        methods,
        folder=folder,
        given=out,
        as_json=as_json,
        dry_run=dry_run,
        target=target,
        batch_size=batch_size,
        workers=workers,
        limit=limit,
        seed=seed,
        save_images=save_images,
        pseudonyms=pseudonyms,
        **running,
    )
