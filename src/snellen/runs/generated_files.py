"""Generated images as files and rows of a manifest: what every call that makes a data set writes."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

from snellen.core.images import ImageSet
from snellen.data.privacy.nameless import with_hidden
from snellen.runs.class_grid import class_grid
from snellen.runs.image_sheet import image_sheet
from snellen.runs.layout import classes_of
from snellen.runs.manifest_columns import label_columns, text_columns
from snellen.runs.measuring import Put
from snellen.runs.safe_names import file_names
from snellen.runs.thumbnails import png
from snellen.runs.whole_file import whole_file

#: Files of pictures of a data set, and images on the sheet.
SHEET, GRID, EXAMPLES = "sheet.png", "grid.png", 18

#: Columns that come first in the manifest.
_FIRST = ("path", "id", "label", "labels", "caption")

#: Columns that are written in another form, or not at all.
_NOT_TEXT = ("id", "label", "labels", "bag_label", "mask")


def write_images(
    images: ImageSet, put: Put, hidden: Mapping[str, str], *, names: Mapping[str, str] | None = None
) -> list[dict[str, str]]:
    """Write the images of one shard as ``images/ID.png``.

    Args:
        images: the set, in memory.
        put: writes a file.
        hidden: text that is replaced in every cell; see :func:`~snellen.data.privacy.nameless.hidden_references`.
        names: of the files below ``images``, by id; None makes one of each id.

    Returns:
        A row of the manifest for each image.
    """
    known = [column for column in images.table.column_names if column not in _NOT_TEXT]
    columns = label_columns(images, classes_of(images)) | text_columns(images, known)
    rows = []
    ids = images.ids
    files = file_names(ids, ".png") if names is None else [names[key] for key in ids]
    for index, (key, name) in enumerate(zip(ids, files, strict=True)):
        path = f"images/{name}"
        put(path, png(images.read(index)))
        texts = {column: with_hidden(values[index], hidden) for column, values in columns.items()}
        rows.append({"path": path, "id": key, **texts})
    return rows


def write_pictures(images: ImageSet, chosen: Sequence[int], folder: Path, *, grid: bool = True) -> list[str]:
    """Write a sheet of some images with their captions, and a row of images for each class where they allow it.

    Args:
        images: the whole set.
        chosen: positions of those on the sheet.
        folder: where the files are written.
        grid: whether to draw the grid, which takes images of one size and known classes.

    Returns:
        Names of the files.
    """
    with whole_file(folder / SHEET) as stream:
        image_sheet(images, chosen, captions=True).save(stream, "PNG")
    by_class = class_grid(images) if grid else None
    if by_class is None:
        return [SHEET]
    with whole_file(folder / GRID) as stream:
        by_class.save(stream, "PNG")
    return [SHEET, GRID]


def write_manifest(path: Path, rows: Sequence[Mapping[str, str]]) -> None:
    """Write rows as a CSV table, whole or not at all; a column that a row lacks is empty."""
    present = {column for row in rows for column in row}
    columns = [*(column for column in _FIRST if column in present), *sorted(present.difference(_FIRST))]
    with whole_file(path) as stream:
        text = io.TextIOWrapper(stream, "utf-8", "backslashreplace", newline="")
        table = csv.DictWriter(text, columns, restval="")
        table.writeheader()
        table.writerows(rows)
        text.detach()
