"""``snellen train``."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from snellen.cli.privacy_options import AllowRemoteOption
from snellen.cli.progress import TerminalProgress, loading
from snellen.cli.run_options import ReadingOptions, SeedOption, read_images
from snellen.cli.text import harmless
from snellen.core.errors import InputError

if TYPE_CHECKING:
    from snellen.core.method import Method
    from snellen.verbs.train import Delivered


def train(
    methods: list[Method],
    data: Annotated[
        str,
        typer.Argument(
            help="Images to train on: a folder (class subfolders), a manifest (.csv, .parquet), FILE.npz#train, "
            "whole slides as slides:FOLDER, a folder of IDX files with #train. Images of a split named val choose the "
            "epoch."
        ),
    ],
    out: Annotated[
        Path,
        typer.Option(help="New folder for weights, card and model.onnx; the same command resumes where it stopped."),
    ],
    val: Annotated[str | None, typer.Option(help="Images that choose the epoch, if they are elsewhere.")] = None,
    test: Annotated[str | None, typer.Option(help="Images to audit the result on, into OUT/audit.")] = None,
    without: Annotated[
        Path | None,
        typer.Option(help="Folder of a scan of these images: those that it names as suspects are not trained on."),
    ] = None,
    base: Annotated[Path | None, typer.Option(help="Model to continue training from (an artifact).")] = None,
    allow_remote: AllowRemoteOption = None,
    onnx: Annotated[bool, typer.Option("--onnx/--no-onnx", help="Also write model.onnx.")] = True,
    seed: SeedOption = 0,
    *,
    reading: ReadingOptions,
) -> None:
    """Train a classifier that no longer has the problem."""
    if len(methods) > 1:
        raise InputError("train one classifier at a time: give each option of the recipe once")
    with loading("reading images") as spinner:
        from snellen.core.artifact import Artifact
        from snellen.runs.given import given_companion
        from snellen.verbs.train import check_free
        from snellen.verbs.train import train as deliver

        # What can be refused without the images is refused before they are read. A base brings its own architecture.
        check_free(out)
        parent = None if base is None else Artifact.load(base)
        lacking = methods[0].missing() if parent is None else None
        if lacking is not None:
            raise InputError(f"{methods[0].name} {lacking}")
        images = read_images(data, reading, spinner)
        chooses = None if val is None else given_companion(val, reading["columns"], spinner)
        audited = None if test is None else given_companion(test, reading["columns"], spinner)
    try:
        with TerminalProgress() as progress:
            made = deliver(
                methods[0],
                images,
                out=out,
                val=chooses,
                test=audited,
                base=parent,
                without=without,
                onnx=onnx,
                seed=seed,
                progress=progress,
            )
    except KeyboardInterrupt:
        message = f"stopped; the same command resumes from {out} after the last whole epoch, or after the training"
        typer.echo(message, err=True)
        raise
    _show(made, data)


def _show(made: Delivered, data: str) -> None:
    from snellen.verbs.model_card import left_out_of

    for name, figure in made.artifact.card.metrics.items():
        typer.echo(f"{name}: {figure:.4f}")
    if made.report is not None:
        accuracy = made.report.metrics.get("clean.accuracy")
        shown = "" if accuracy is None else f"accuracy {accuracy.value:.4f}, "
        typer.echo(
            f"audit: {shown}{len(made.report.findings)} findings, {harmless(str(made.folder / 'audit'))}/report.html"
        )
    if lost := made.artifact.card.lineage.recipe.get("rejected", 0):
        why = "a usable mask" if made.artifact.card.kind == "segmenter" else "a label"
        typer.echo(
            f"{lost} of the images to learn from could not be used (damaged, or without {why}) and were left out"
        )
    if (left_out := left_out_of(made.artifact.card)) is not None:
        typer.echo(harmless(left_out.words))
    for note in made.notes:
        typer.echo(harmless(note))
    if made.artifact.card.kind == "segmenter":
        from snellen.models.segmenters.pixel_classifiers import lines_that_predict

        typer.echo(f"Written: {harmless(str(made.folder))}; it decides the pixels of an image in Python:")
        # As they are: these lines are to be run as they stand.
        typer.echo(lines_that_predict(str(made.folder), data))
        return
    typer.echo(f"Written: {harmless(str(made.folder))}; use it as {harmless(shlex.quote(f'artifact:{made.folder}'))}")
