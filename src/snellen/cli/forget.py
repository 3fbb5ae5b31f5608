"""``snellen forget``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from snellen.cli.engine_options import DryRunOption
from snellen.cli.filled_folder import carry_out, free_folder
from snellen.cli.id_list import read_ids
from snellen.cli.privacy_options import AllowRemoteOption
from snellen.cli.progress import loading
from snellen.cli.run_options import ClassesOption, DeviceOption, JsonOption, SeedOption, read_images
from snellen.core.errors import InputError

if TYPE_CHECKING:
    from snellen.cli.run_options import ModelOptions, ReadingOptions
    from snellen.core.method import Method
    from snellen.runs.runner import Running


def forget(
    methods: list[Method],
    model: Annotated[str, typer.Argument(help="The trained classifier: artifact:FOLDER, timm:NAME@FILE, hf:FOLDER.")],
    data: Annotated[str, typer.Argument(help="All images that it was trained on, labelled: a folder, a manifest.")],
    ids: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Ids of the images to forget: one a line, or a table (.csv, .parquet) with a column of them.",
        ),
    ] = None,
    id_column: Annotated[str, typer.Option(metavar="NAME", help="Column of that table which holds the ids.")] = "id",
    class_: Annotated[
        list[str] | None,
        typer.Option("--class", metavar="NAME", help="Class whose images are forgotten, repeatable."),
    ] = None,
    test: Annotated[
        str | None,
        typer.Option(help="Labelled images that nothing was trained on.", show_default="the split test of DATA"),
    ] = None,
    retrain: Annotated[
        bool, typer.Option("--retrain", help="Also retrain without them, by the recipe in the lineage of the artifact.")
    ] = False,
    retraining: Annotated[
        str | None,
        typer.Option(
            metavar="JSON", help='Numbers of that retraining: {"plan": {"epochs": 30}}.', show_default="the lineage's"
        ),
    ] = None,
    random_sets: Annotated[int, typer.Option(min=0, help="Random forget sets of as many images beside yours.")] = 1,
    worst_case: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Also judge on the set of a search: the forget-set.txt that it wrote."),
    ] = None,
    relearn_epochs: Annotated[
        int,
        typer.Option(
            min=0, help="Passes of fine-tuning with other images, which show whether the forgotten come back; 0: none."
        ),
    ] = 3,
    relearn: Annotated[
        str | None,
        typer.Option(
            metavar="DATA",
            help="Labelled images of that fine-tuning; their classes may be others.",
            show_default="the remaining training images",
        ),
    ] = None,
    shadows: Annotated[
        int,
        typer.Option(
            min=0, help="Networks retrained for a membership attack by likelihood ratios: 4, 6, 8 …; 0: none."
        ),
    ] = 0,
    out: Annotated[
        Path | None,
        typer.Option(help="New folder; the same command resumes where it stopped.", show_default="snellen-forget-N"),
    ] = None,
    classes: ClassesOption = None,
    allow_remote: AllowRemoteOption = None,
    *,
    reading: ReadingOptions,
    device: DeviceOption = "cpu",
    built: ModelOptions,
    seed: SeedOption = 0,
    running: Running,
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
) -> None:
    """Remove what a classifier learned from some images, and measure how well that worked."""
    folder = out or free_folder("snellen-forget")
    with loading("reading model and images") as spinner:
        from snellen.models.classifiers.references import load_classifier
        from snellen.models.remote.permission import permitting
        from snellen.runs.given import given_companion
        from snellen.runs.unfinished import check_free
        from snellen.verbs.forget import forget as remove
        from snellen.verbs.forgotten_set import RECORD, WHAT

        check_free(folder, RECORD, WHAT)
        named = None if ids is None else read_ids(ids, id_column)
        hardest = None if worst_case is None else read_ids(worst_case)
        with permitting(allow_remote or ()):
            classifier = load_classifier(model, classes, device=device, **built)
        images = read_images(data, reading, spinner)
        held_out, others = (
            None if one is None else given_companion(one, reading["columns"], spinner) for one in (test, relearn)
        )
    carry_out(
        remove,
        classifier,
        images,
        methods,
        folder=folder,
        given=out,
        as_json=as_json,
        dry_run=dry_run,
        ids=named,
        classes=tuple(class_ or ()),
        test=held_out,
        retrain=_numbers(retraining) if retraining is not None else retrain,
        random_sets=random_sets,
        worst_case=hardest,
        relearn_epochs=relearn_epochs,
        relearn=others,
        shadows=shadows,
        seed=seed,
        **running,
    )


def _numbers(text: str) -> dict[str, Any]:
    """Numbers of a retraining from JSON.

    Raises:
        InputError: not an object.
    """
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise InputError(f'--retraining {text!r}: expected a JSON object, such as {{"plan": {{"epochs": 30}}}}')
    return found
