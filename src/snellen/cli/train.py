"""``snellen train``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from snellen.cli.progress import TerminalProgress, loading
from snellen.cli.text import markup
from snellen.errors import InputError

if TYPE_CHECKING:
    from snellen.method import Method, Recipe


def train(
    methods: list[Method],
    data: Annotated[
        str,
        typer.Argument(
            help="Images to train on: a folder (class subfolders), a manifest (.csv, .parquet), FILE.npz#train, a "
            "folder of IDX files with #train. Images of a split named tune choose the epoch."
        ),
    ],
    out: Annotated[Path, typer.Option(help="New folder for the artifact: weights.safetensors and card.json.")],
    tune: Annotated[str | None, typer.Option(help="Images that choose the epoch, if they are elsewhere.")] = None,
    base: Annotated[Path | None, typer.Option(help="Artifact whose weights are gone on from.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of everything random.")] = 0,
) -> None:
    """Train a classifier that no longer has the problem."""
    if len(methods) > 1:
        raise InputError("train one classifier at a time: give each option of the recipe once")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"{out} exists and is not an empty folder; name a new one with --out")
    recipe = cast("Recipe", methods[0])
    with loading("reading images"):
        from snellen.artifact import Artifact
        from snellen.data.joining import join
        from snellen.data.references import load_images
        from snellen.data.splits import as_split
        from snellen.randomness import Randomness

        parent = None if base is None else Artifact.load(base)
        # What can be refused without the images is refused before they are read. A base brings its own architecture.
        lacking = methods[0].missing() if parent is None else None
        if lacking is not None:
            raise InputError(f"{methods[0].name} {lacking}")
        images = load_images(data)
        if tune is not None:
            images = join([as_split(images.for_fitting(), "train"), as_split(load_images(tune).for_fitting(), "tune")])
    with TerminalProgress() as progress:
        artifact = recipe.fit(images, base=parent, rng=Randomness(seed), progress=progress)
    artifact.save(out)
    for name, figure in artifact.card.metrics.items():
        typer.echo(f"{name}: {figure:.4f}")
    typer.echo(f"Written: {markup(str(out))}; use it as artifact:{markup(str(out))}")
