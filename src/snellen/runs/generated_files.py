"""Generated images as files and rows of a manifest: what every call that makes a data set writes."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from snellen.core.errors import RejectedImageError
from snellen.core.images import ImageSet
from snellen.data.privacy.nameless import with_hidden
from snellen.runs.image_sheet import image_sheet
from snellen.runs.layout import classes_of, label_columns, text_columns
from snellen.runs.measuring import Put
from snellen.runs.picture_grid import picture_grid
from snellen.runs.safe_names import file_names
from snellen.runs.thumbnails import png
from snellen.runs.whole_file import whole_file

#: The most rows, and pictures in a row.
MOST_CLASSES, IN_A_ROW = 20, 8


def class_grid(images: ImageSet) -> Image.Image | None:
    """Draw the first images of every class, a row for each class in the order of the set.

    Returns:
        The picture; None for a set of one class or of none, or with one image of each, which a sheet shows as well.

    Args:
        images: the set; images without a class and those that cannot be read are left out. Of more than 20 classes the
            title says how many are shown.
    """
    by_class: dict[str, list[int]] = {}
    for index, name in enumerate(classes_of(images)):
        if name is not None:
            by_class.setdefault(name, []).append(index)
    if len(by_class) < 2 or max(map(len, by_class.values())) < 2:
        return None
    shown = dict(list(by_class.items())[:MOST_CLASSES])
    rows = [(pictures, name) for name, members in shown.items() if (pictures := _read(images, members[:IN_A_ROW]))]
    if not rows:
        return None
    columns = max(len(pictures) for pictures, _ in rows)
    few = f", {len(shown)} of {len(by_class)} classes" if len(shown) < len(by_class) else ""
    return picture_grid(f"{images.name}{few}", [str(number + 1) for number in range(columns)], rows)


def _read(images: ImageSet, members: list[int]) -> list[Tensor]:
    found = []
    for index in members:
        try:
            found.append(torch.from_numpy(np.array(images.read(index))).permute(2, 0, 1))
        except RejectedImageError:
            continue
    return found


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
