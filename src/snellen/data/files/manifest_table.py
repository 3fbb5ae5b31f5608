"""Manifests as they are written: a CSV or Parquet file becomes columns of Python values and the names of its rows."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from snellen.core.errors import InputError, unknown_name
from snellen.core.images import COLUMNS
from snellen.data.files.parquet_tables import UNREADABLE, open_parquet, read_columns

#: Short names of what may be known about an image → column of an image table.
SHORT = {"image": "path", "unit": "unit_id", "bag": "bag_id"}

#: What a mapping may name.
MEANT = (*SHORT, "path", *COLUMNS)


def renamed(columns: Mapping[str, str] | None, there: Sequence[str], title: str) -> dict[str, str]:
    """Column of the table → column of an image table, for the columns that the mapping names.

    >>> renamed({"image": "file", "unit": "patient"}, ["file", "patient", "age"], "table.csv")
    {'file': 'path', 'patient': 'unit_id'}
    >>> renamed({"labels": "edema,mass"}, ["path", "edema", "mass"], "table.csv")
    {'edema': 'labels of edema', 'mass': 'labels of mass'}

    Raises:
        InputError: a meaning that is not known, a column that is not there, or one that is named twice.
    """
    found: dict[str, str] = {}
    for meant, column in (columns or {}).items():
        if meant not in MEANT:
            raise unknown_name("meaning of a column", meant, MEANT)
        if meant == "labels" and column not in there and "," in column:
            found |= _label_columns(column, there, title, found)
            continue
        if column not in there:
            raise unknown_name(f"column of {title}", column, [str(one) for one in there])
        if column in found:
            raise InputError(f"{title}: column {column!r} is named twice, as {found[column]} and as {meant}")
        found[column] = SHORT.get(meant, meant)
    return found


#: What begins the name of a column for one label of each image.
LABELS_OF = "labels of "


def _label_columns(listed: str, there: Sequence[str], title: str, found: Mapping[str, str]) -> dict[str, str]:
    """Columns of one label each, written with commas between their names."""
    names = [name.strip() for name in listed.split(",") if name.strip()]
    for name in names:
        if name not in there:
            raise unknown_name(f"column of {title}", name, [str(one) for one in there])
        if name in found or names.count(name) > 1:
            raise InputError(f"{title}: column {name!r} is named twice")
    return {name: f"{LABELS_OF}{name}" for name in names}


def holds_columns(named: str, header: Sequence[str]) -> bool:
    """Whether a table has a column, or each of several with commas between them."""
    return named in header or all(name.strip() in header for name in named.split(","))


def with_labels(columns: Mapping[str, Sequence[object]]) -> dict[str, Sequence[object]]:
    """Columns of one label each as one column ``labels`` of mappings, name of the label → value as it was written."""
    own = {name.removeprefix(LABELS_OF): values for name, values in columns.items() if name.startswith(LABELS_OF)}
    kept = {name: values for name, values in columns.items() if not name.startswith(LABELS_OF)}
    if own:
        kept["labels"] = [dict(zip(own, row, strict=True)) for row in zip(*own.values(), strict=True)]
    return kept


#: Largest manifest that is read: bytes of text or of unpacked Parquet, and rows.
MAX_BYTES = 2 * 2**30
MAX_ROWS = 20_000_000

#: Longest first line that is read for the names of columns, bytes.
_MAX_HEADER = 1_000_000

_MEANT = frozenset({*COLUMNS, "path"})


@dataclass(frozen=True)
class Written:
    """A manifest before its meaning is checked.

    Attributes:
        columns: values of the columns that mean something here, by name; None where a field is empty.
        further: other columns, as they will be kept.
        rows: what errors call each row: "line 7" of a CSV file, "row 6" of a Parquet file.
    """

    columns: Mapping[str, Sequence[object]]
    further: Mapping[str, pa.Array | pa.ChunkedArray]
    rows: Sequence[str]


def read_csv(
    path: Path,
    *,
    needed: str = "path",
    meant: Collection[str] = _MEANT,
    columns: Mapping[str, str] | None = None,
) -> Written:
    """Read UTF-8 text with commas and a header. Empty fields are None; everything else is text.

    Args:
        path: of the file.
        needed: the column that must be there; it names a file, relative to the folder of the manifest.
        meant: columns that mean something; others are kept as they are.
        columns: what columns of other names mean; see :func:`~snellen.data.files.manifest_table.renamed`.

    Raises:
        InputError: not such a file, a row of another length than the header, or a column that occurs twice.
    """
    _check_size(path, path.stat().st_size)
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path} is not UTF-8 text ({error.reason} at byte {error.start}); save it as UTF-8"
        ) from error
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}") from error
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    header: list[str] = []
    rows: list[list[str]] = []
    names: list[str] = []
    try:
        header = _meant_names(columns, [name.strip() for name in next(reader, [])], path)
        _check_header(path, header, needed)
        for fields in reader:
            if not fields:
                continue
            if len(fields) != len(header):
                raise InputError(
                    f"{path}, line {reader.line_num}: {len(fields)} fields, but the header has {len(header)}; quote "
                    f"fields that hold commas"
                )
            rows.append(fields)
            names.append(f"line {reader.line_num}")
    except csv.Error as error:
        raise InputError(f"{path}, line {reader.line_num}: not readable as CSV: {error}") from error
    held = {name: [row[position] or None for row in rows] for position, name in enumerate(header)}
    known = {name: values for name, values in held.items() if name in meant or name.startswith(LABELS_OF)}
    further = {name: pa.array(values, pa.string()) for name, values in held.items() if name not in known}
    return Written(with_labels(known), further, names)


def _meant_names(columns: Mapping[str, str] | None, header: Sequence[str], path: Path) -> list[str]:
    """The header with the names that columns mean; one whose name another column takes is kept as unused."""
    meaning = renamed(columns, header, str(path))
    taken = set(meaning.values())
    return [meaning.get(name, f"{name} (unused)" if name in taken else name) for name in header]


def read_parquet(path: Path, *, columns: Mapping[str, str] | None = None) -> Written:
    """Read a Parquet file; ``columns`` as in :func:`read_csv`.

    Raises:
        InputError: not such a file, or too large.
    """
    try:
        with path.open("rb") as stream:
            file = open_parquet(stream)
            groups = range(file.metadata.num_row_groups)
            _check_size(path, sum(file.metadata.row_group(group).total_byte_size for group in groups))
            if file.metadata.num_rows > MAX_ROWS:
                raise InputError(f"{path} has {file.metadata.num_rows} rows, more than {MAX_ROWS}; split it")
            header = _meant_names(columns, file.schema_arrow.names, path)
            _check_header(path, header, "path")
            table = read_columns(stream, file.schema_arrow.names, MAX_BYTES, str(path)).rename_columns(header)
        named = [name for name in table.column_names if name in _MEANT or name.startswith(LABELS_OF)]
        held = {name: table[name].to_pylist() for name in named}
    except InputError:
        raise
    except UNREADABLE as error:
        raise InputError(
            f"{path} is not a readable Parquet file: {(str(error).splitlines() or ['?'])[0][:200]}"
        ) from error
    further = {name: table[name] for name in table.column_names if name not in held}
    return Written(with_labels(held), further, [f"row {number}" for number in range(1, len(table) + 1)])


def read_table(path: Path, *, columns: Mapping[str, str] | None = None) -> Written:
    """Read a table by the ending of its file; see :func:`read_csv` and :func:`read_parquet`."""
    return (read_parquet if path.suffix.lower() == ".parquet" else read_csv)(path, columns=columns)


def read_header(path: Path) -> list[str]:
    """Names of the columns of a table, CSV or Parquet.

    Raises:
        InputError: there is no such file, or it is no such table.
    """
    try:
        with path.open("rb") as stream:
            if path.suffix.lower() == ".parquet":
                return list(open_parquet(stream).schema_arrow.names)
            text = stream.readline(_MAX_HEADER).decode("utf-8-sig")
        return [name.strip() for name in next(csv.reader([text], strict=True), [])]
    except (*UNREADABLE, csv.Error) as error:
        raise InputError(f"{path} is not a readable table: {(str(error).splitlines() or ['?'])[0][:200]}") from error


def _check_size(path: Path, size: int) -> None:
    if size > MAX_BYTES:
        raise InputError(f"{path} holds {size} bytes, more than {MAX_BYTES}; split it")


def _check_header(path: Path, header: Sequence[str], needed: str) -> None:
    twice = [name for name, times in Counter(header).items() if times > 1]
    if twice:
        raise InputError(f"{path} has more than one column {twice[0]!r}")
    if needed not in header:
        held = ", ".join(header[:12]) or "nothing"
        hint = "; separate columns by commas" if len(header) == 1 and ("\t" in held or ";" in held) else ""
        if needed != "path":  # no other column can be named otherwise
            raise InputError(f"{path} has no column {needed!r}; it has: {held}{hint}. Give the column that name")
        raise InputError(
            f"{path} has no column {needed!r} (relative to the folder of the manifest); it has: {held}{hint}. "
            f'Say which one holds the paths: columns={{"image": "..."}}, --column image=...'
        )
