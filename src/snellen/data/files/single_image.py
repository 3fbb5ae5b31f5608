"""One image file as a set of one."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa

from snellen.core.errors import InputError
from snellen.core.images import COLUMNS, ImageSet
from snellen.data.files.contained_file import printable
from snellen.data.files.file_source import FileSource
from snellen.data.files.folder import SUFFIXES


def is_image_file(path: Path) -> bool:
    """Whether a path names a file that ends like an image."""
    return path.suffix.lower() in SUFFIXES and path.is_file()


def load_single_image(path: Path, *, name: str | None = None) -> ImageSet:
    """One image without a label, called after its file. A link is followed: whoever names a file means it.

    Raises:
        InputError: there is no such file.
    """
    try:
        found = path.resolve(strict=True)
    except (OSError, RuntimeError) as error:
        raise InputError(f"{path} cannot be found: {error}") from error
    shown = printable(path.name)
    table = pa.table({"id": pa.array([shown], COLUMNS["id"])})
    return ImageSet(FileSource(found.parent, [found.name]), table, name=name or shown)
