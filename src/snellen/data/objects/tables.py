"""Tables in memory (pandas, polars, pyarrow) whose rows are images."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from snellen.core.errors import InputError
from snellen.core.images import COLUMNS, ImageSet
from snellen.data.files.contained_file import printable
from snellen.data.files.manifest_table import renamed, with_labels
from snellen.data.files.pictures import Values, picture_of
from snellen.data.objects.item_source import item_set


def is_table(value: object) -> bool:
    """Whether a value is a table of pandas, polars or pyarrow."""
    return isinstance(value, pa.Table) or (
        type(value).__name__ == "DataFrame" and type(value).__module__.split(".")[0] in ("pandas", "polars")
    )


def columns_of(table: Any) -> dict[str, list[object]]:  # noqa: ANN401 - of pandas, polars or pyarrow
    """The columns of a table as Python values; missing ones are None, and whole numbers stay whole.

    >>> columns_of(pa.table({"a": [1, None]}))
    {'a': [1, None]}
    """
    if isinstance(table, pa.Table):
        return {str(name): table[name].to_pylist() for name in table.column_names}
    if type(table).__module__.startswith("polars"):
        return dict(table.to_dict(as_series=False))
    return {str(name): _whole([_present(value) for value in table[name].tolist()]) for name in table.columns}


def load_table(
    table: object,
    *,
    columns: Mapping[str, str] | None = None,
    class_names: Sequence[str] | None = None,
    labels: Sequence[object] | None = None,
    values: Values | None = None,
    root: str | os.PathLike[str] = ".",
    name: str | None = None,
) -> ImageSet:
    """An image set of a table in memory.

    Args:
        table: of pandas, polars or pyarrow. A column holds the images: paths, or PIL images, arrays or files' bytes.
        columns: what the columns mean, as ``{"image": "file", "label": "dx", "unit": "patient"}``; those that are
            called as in :data:`snellen.core.images.COLUMNS`, ``path`` or ``image`` need no mention.
        class_names: names of classes that are numbered.
        labels: of the rows, where the table has none.
        values: what floating-point pixels mean.
        root: folder that relative paths start from.
        name: shown in reports.

    Raises:
        InputError: no column of images, or a column that says what cannot be.
    """
    held = columns_of(table)
    meaning = renamed(columns, list(held), "the table")
    known: dict[str, Sequence[object]] = {ours: held[theirs] for theirs, ours in meaning.items()}
    for column in held:
        ours = "path" if column == "image" else column
        if column not in meaning and ours not in known and (ours in COLUMNS or ours == "path"):
            known[ours] = held[column]
    if "path" not in known:
        raise InputError(
            f"the table has no column 'path' or 'image'; say which one holds the images, "
            f'columns={{"image": "..."}}; it has: {", ".join(list(held)[:12])}'
        )
    known = with_labels(known)
    if labels is not None:
        known["label"] = labels
    pictures = list(known.pop("path"))
    if "id" not in known and all(isinstance(value, str | os.PathLike) for value in pictures):
        known["id"] = [printable(str(value)) for value in pictures]
    here = Path(root)
    used = {*meaning, *known, "image", "path"}
    return item_set(
        lambda index: picture_of(_located(pictures[index], here), values),
        known,
        len(pictures),
        name=name or "table",
        shown_as="the table",
        class_names=class_names,
        further={column: _kept(rows) for column, rows in held.items() if column not in used},
    )


def _located(value: object, root: Path) -> object:
    if isinstance(value, str | os.PathLike):
        return root / value
    if isinstance(value, Mapping) and not value.get("bytes") and value.get("path"):
        return root / str(value["path"])
    return value


def _present(value: object) -> object:
    """The value, or None for what pandas puts where nothing is."""
    missing = value is None or (isinstance(value, float) and value != value) or type(value).__name__ == "NAType"
    return None if missing else value


def _whole(values: list[object]) -> list[object]:
    """Whole numbers as integers where a missing one among them made them floats."""
    given = [value for value in values if value is not None]
    if len(given) == len(values) or not all(isinstance(value, float) and value.is_integer() for value in given):
        return values
    return [None if value is None else int(value) for value in values]  # type: ignore[call-overload]


def _kept(values: Sequence[object]) -> pa.Array:
    try:
        return pa.array(values)
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError):
        return pa.array([None if value is None else str(value) for value in values], pa.string())
