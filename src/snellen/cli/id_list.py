"""Ids of images in a file: one a line, or a column of a table."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

from snellen.core.errors import InputError


def read_ids(file: Path, column: str = "id") -> list[str]:
    """Ids from a file: one a line, or a column of a table.

    Args:
        file: a table where its name ends in ``.csv`` or ``.parquet``, else lines.
        column: of the table.

    Raises:
        InputError: no such file, one that cannot be read, no such column, or no id.
    """
    if not file.is_file():
        raise InputError(
            f"{file}: there is no such file; give a file with an id a line, or a table with a column of ids"
        )
    if file.suffix.lower() in (".csv", ".parquet"):
        found = _column(file, column)
    elif column != "id":
        raise InputError(f"--id-column {column}: {file} is no table (.csv, .parquet), and lines have no columns")
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


def _column(file: Path, column: str) -> list[str]:
    """A column of a table, as strings: 007 stays 007."""
    if file.suffix.lower() == ".csv":
        try:
            rows = [row for row in csv.reader(io.StringIO(_text(file)), strict=True) if row]
        except csv.Error as error:
            raise InputError(
                f"{file} is not a table with commas ({error}); write a line {column} and one line an id"
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
        columns = {name: table[name].to_pylist() if name == column else [] for name in table.column_names}
    if column not in columns:
        listed = ", ".join(columns) or "none: it is empty"
        raise InputError(f"{file} has no column {column}; its columns are {listed}. Name that of the ids: --id-column")
    return [one for given in columns[column] if given is not None and (one := str(given).strip())]
