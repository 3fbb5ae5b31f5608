"""``snellen forget``."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from snellen.cli.engine_options import DryRunOption
from snellen.cli.filled_folder import carry_out, free_folder
from snellen.cli.privacy_options import AllowRemoteOption
from snellen.cli.progress import loading
from snellen.cli.run_options import ClassesOption, DeviceOption, JsonOption, SeedOption, read_images
from snellen.core.errors import InputError

if TYPE_CHECKING:
    from snellen.cli.run_options import ModelOptions, Reading
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
            help="Ids of the images to forget: one a line, or a table (.csv, .parquet) with a column id.",
        ),
    ] = None,
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
    reading: Reading,
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
        named = None if ids is None else read_ids(ids)
        with permitting(allow_remote or ()):
            classifier = load_classifier(model, classes, device=device, **built)
        images = read_images(data, reading, spinner)
        held_out = None if test is None else given_companion(test, reading["columns"], spinner)
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
        shadows=shadows,
        seed=seed,
        **running,
    )


def read_ids(file: Path) -> list[str]:
    """Ids from a file: one a line, or the column ``id`` of a table.

    Raises:
        InputError: no such file, one that cannot be read, no column ``id``, or no id.
    """
    if not file.is_file():
        raise InputError(f"{file}: there is no such file; give a file with an id a line, or a table with a column id")
    if file.suffix.lower() in (".csv", ".parquet"):
        found = _column_id(file)
    else:
        found = [line.strip() for line in _text(file).splitlines() if line.strip()]
    if not found:
        raise InputError(f"{file} names no image; write an id a line")
    return found


def _text(file: Path) -> str:
    """Text in UTF-8, with or without the mark that spreadsheets put in front."""
    try:
        return file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{file} is not text in UTF-8 (byte {error.start}); save it as UTF-8") from error


def _column_id(file: Path) -> list[str]:
    """Column ``id`` of a table, as strings: 007 stays 007."""
    if file.suffix.lower() == ".csv":
        try:
            rows = [row for row in csv.reader(io.StringIO(_text(file)), strict=True) if row]
        except csv.Error as error:
            raise InputError(
                f"{file} is not a table with commas ({error}); write a line id and one line an id"
            ) from error
        names = rows[0] if rows else []
        ragged = [number for number, row in enumerate(rows, start=1) if len(row) != len(names)]
        if ragged:
            raise InputError(
                f"{file}: row {ragged[0]} has {len(rows[ragged[0] - 1])} fields, and the first row {len(names)}; give "
                f"every row as many, with quotes around ids that have commas"
            )
        columns: dict[str, list[Any]] = {name.strip(): [row[at] for row in rows[1:]] for at, name in enumerate(names)}
    else:
        import pyarrow as pa
        import pyarrow.parquet

        try:
            table = pyarrow.parquet.read_table(file)
        except (pa.ArrowException, OSError) as error:
            raise InputError(f"{file} is not a Parquet file, or a damaged one; write it again") from error
        columns = {name: table[name].to_pylist() if name == "id" else [] for name in table.column_names}
    if "id" not in columns:
        listed = ", ".join(columns) or "none: it is empty"
        raise InputError(f"{file} has no column id; its columns are {listed}")
    return [one for given in columns["id"] if given is not None and (one := str(given).strip())]


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
