"""A manifest: a CSV or Parquet table that lists images and says what is known about each."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from snellen.core.errors import InputError
from snellen.core.images import ImageSet
from snellen.data.files.decoding import DEFAULT_LIMITS, DecodingLimits
from snellen.data.files.file_source import FileSource
from snellen.data.files.grey_range import SIXTEEN_BIT
from snellen.data.files.manifest_columns import meaning
from snellen.data.files.manifest_table import read_csv, read_parquet


def load_manifest(
    path: Path,
    *,
    columns: Mapping[str, str] | None = None,
    name: str | None = None,
    limits: DecodingLimits = DEFAULT_LIMITS,
    grey_range: tuple[int, int] = SIXTEEN_BIT,
) -> ImageSet:
    """Read a manifest (``.csv`` or ``.parquet``).

    Columns are those of :data:`snellen.core.images.COLUMNS`, all optional, and ``path``, relative to the folder of the
    manifest. Without ``id``, the path is the id. ``label`` holds class names (sorted, they become the class names) or
    integers (then classes are called "0" … "k−1"; −1 or empty means unknown). ``bag_label``, the label of the whole bag
    that a row belongs to, is written likewise and of the same classes. ``split`` may also say ``val``, which is
    ``tune``. In CSV, ``labels`` and ``boxes`` are written as JSON: ``"[0, 1, 1]"``. Further columns are kept.

    A path that is absolute, leads out of the folder, or names no file makes that image rejected, by name, when it is
    read; it does not spoil the others. Anything else that is wrong in a row is an error that names the row.

    Args:
        path: of the table.
        columns: what columns of other names mean, as ``{"image": "file", "label": "dx", "unit": "patient"}``.
        name: shown in reports.
        limits: of the files.
        grey_range: values of black and white in grey images of more than 8 bits.

    Raises:
        InputError: the table cannot be read, or a row says something that cannot be.
    """
    read = read_parquet if path.suffix.lower() == ".parquet" else read_csv
    written = read(path, columns=columns)
    if not written.rows:
        raise InputError(f"{path} lists no images")
    table, class_names, split = meaning(str(path), written)
    paths = ["" if place is None else str(place) for place in written.columns["path"]]
    source = FileSource(path.parent.resolve(), paths, limits=limits, grey_range=grey_range)
    return ImageSet(source, table, class_names, name or path.stem, split=split)
