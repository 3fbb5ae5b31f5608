"""Parquet that is not trusted: a file of some kilobytes may hold columns that unpack to more than a machine has.

Texts that repeat are stored once, so that a row may cost a few bits and a megabyte. They are read as they are stored,
and unpacked when it is known how large they become. The metadata of single columns is not read: pyarrow ends the
process where those are damaged.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import BinaryIO

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from snellen.core.errors import InputError

#: What pyarrow raises for a file that it cannot read, texts that are not UTF-8 and times beyond Python's included.
UNREADABLE = (pa.ArrowException, OSError, UnicodeDecodeError, OverflowError)

#: Longest text in a footer, bytes, and longest list: the schema is a text, with the names of classes in it.
_MAX_FOOTER_TEXT, _MAX_FOOTER_LIST = 48 * 1024**2, 2_000_000

#: Rows that are unpacked at a time.
_BATCH_ROWS = 50_000


def open_parquet(
    stream: BinaryIO, *, metadata: pq.FileMetaData | None = None, as_stored: Sequence[str] = ()
) -> pq.ParquetFile:
    """Open a Parquet file: texts and lists in its footer are limited, nothing is read ahead.

    Args:
        stream: the file.
        metadata: its footer, when that was read before.
        as_stored: columns of texts or bytes that are given as dictionaries, each value once.
    """
    return pq.ParquetFile(
        stream,
        metadata=metadata,
        pre_buffer=False,
        read_dictionary=list(as_stored),
        thrift_string_size_limit=_MAX_FOOTER_TEXT,
        thrift_container_size_limit=_MAX_FOOTER_LIST,
    )


def read_columns(stream: BinaryIO, columns: Sequence[str], most: int, what: str) -> pa.Table:
    """Read some columns, or what of them is there.

    Args:
        stream: the file.
        columns: their names.
        most: how many bytes they may unpack to.
        what: how errors name the file.

    Raises:
        InputError: they are larger.
    """
    footer = open_parquet(stream)
    wanted = [field for field in footer.schema_arrow if field.name in columns]
    texts = [field.name for field in wanted if _is_text(field.type)]
    file = open_parquet(stream, metadata=footer.metadata, as_stored=texts)
    parts: list[pa.RecordBatch] = []
    left = most
    for batch in file.iter_batches(_BATCH_ROWS, columns=[field.name for field in wanted], use_threads=False):
        left -= sum(_unpacked_bytes(column) for column in batch.columns)
        if left < 0:
            raise InputError(f"{what} unpacks to more than {most} bytes; split it")
        plain = [
            column.dictionary_decode() if name in texts else column
            for name, column in zip(batch.schema.names, batch.columns, strict=True)
        ]
        parts.append(pa.RecordBatch.from_arrays(plain, names=batch.schema.names))
    if not parts:
        return pa.table({field.name: pa.array([], field.type) for field in wanted})
    return pa.Table.from_batches(parts)


def _is_text(kind: pa.DataType) -> bool:
    large = pa.types.is_large_string(kind) or pa.types.is_large_binary(kind)
    return large or pa.types.is_string(kind) or pa.types.is_binary(kind)


def _unpacked_bytes(column: pa.Array) -> int:
    """How large a column becomes when each value stands for itself."""
    if not pa.types.is_dictionary(column.type) or not _is_text(column.type.value_type):
        return int(column.nbytes)
    lengths = pc.binary_length(column.dictionary).take(column.indices)
    return int(pc.sum(pc.cast(lengths, pa.int64())).as_py() or 0) + int(column.indices.nbytes)
