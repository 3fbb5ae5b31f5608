"""Pixels of images that are stored in row groups of Parquet files."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from snellen.core.errors import RejectedImageError
from snellen.data.files.decoding import DEFAULT_LIMITS, DecodingLimits
from snellen.data.files.encoded_source import EncodedSource
from snellen.data.files.grey_range import SIXTEEN_BIT
from snellen.data.files.parquet_images.layout import Layout
from snellen.data.files.parquet_tables import UNREADABLE, open_parquet
from snellen.data.files.shard_files import ShardFile

#: Row groups are kept, unpacked, up to so many bytes in all; the one in use always is.
KEPT_BYTES = 256 * 1024**2


@dataclass(frozen=True)
class StoredShard:
    """One file, looked at already: how it holds its images, and its footer."""

    file: ShardFile
    layout: Layout
    metadata: pq.FileMetaData

    @property
    def told(self) -> str:
        """How ids and messages name it."""
        return self.file.told

    @property
    def name(self) -> str:
        """Its path below the folder."""
        return self.file.name

    @property
    def root(self) -> Path:
        """The folder that it lies in."""
        return self.file.root


class ParquetSource(EncodedSource):
    """Images by shard, row group and row in it. Threads may read at once; one of them unpacks a row group for all.

    Args:
        shards: the files.
        places: int64 (n, 3): shard, row group and row in it, of each row.
        refused: row → reason, for rows that must not be read.
        limits: see :class:`~snellen.data.files.decoding.DecodingLimits`.
        grey_range: values of black and white in grey images of more than 8 bits.
        kept_bytes: how much of unpacked row groups is kept.
    """

    def __init__(
        self,
        shards: Sequence[StoredShard],
        places: NDArray[np.int64],
        *,
        refused: Mapping[int, str] | None = None,
        limits: DecodingLimits = DEFAULT_LIMITS,
        grey_range: tuple[int, int] = SIXTEEN_BIT,
        kept_bytes: int = KEPT_BYTES,
    ) -> None:
        super().__init__(refused, limits, grey_range)
        self.shards, self.places, self.kept_bytes = tuple(shards), places, kept_bytes
        self._lock = threading.Lock()
        self._groups: OrderedDict[tuple[int, int], pa.ChunkedArray | str] = OrderedDict()

    def stored(self, index: int) -> bytes:
        """The bytes in the row, from what is kept or from the file."""
        shard, group, row = self.places[index].tolist()
        value = self._group(shard, group)[row]
        if isinstance(value, pa.DictionaryScalar):
            value = value.value
        if not value.is_valid:
            raise RejectedImageError("no bytes are stored for it; files that a row only names are not read")
        size = value.as_buffer().size
        if size > self.limits.max_bytes:
            raise RejectedImageError(f"the file has {size} bytes, more than {self.limits.max_bytes} (max_bytes)")
        content: bytes = value.as_py()
        return content

    def _group(self, shard: int, group: int) -> pa.ChunkedArray:
        """The images of one row group, from what is kept or from the file."""
        with self._lock:
            found = self._groups.pop((shard, group), None)
            if found is None:
                found = self._unpacked(shard, group)
                kept = sum(_size(one) for one in self._groups.values())
                while self._groups and kept + _size(found) > self.kept_bytes:
                    kept -= _size(self._groups.popitem(last=False)[1])
            self._groups[shard, group] = found
        if isinstance(found, str):
            raise RejectedImageError(found)
        return found

    def _unpacked(self, shard: int, group: int) -> pa.ChunkedArray | str:
        """The column of images of a row group, or why it cannot be had: the reason is kept like the images."""
        one = self.shards[shard]
        column = f"{one.layout.image}.bytes" if one.layout.structured else one.layout.image
        try:
            with one.file.opened() as stream:
                # Each image once: one that is in the group a thousand times is not a thousand times in memory.
                file = open_parquet(stream, metadata=one.metadata, as_stored=[column])
                images = file.read_row_group(group, columns=[column], use_threads=False).column(0)
        except UNREADABLE as error:
            return f"row group {group} is damaged: {(str(error).splitlines() or ['?'])[0][:120]}"
        except RejectedImageError as error:
            return str(error)
        expected = one.metadata.row_group(group).num_rows
        if len(images) != expected:
            return f"row group {group} is damaged: it holds {len(images)} rows of {expected}"
        return pc.struct_field(images, "bytes") if one.layout.structured else images


def _size(group: pa.ChunkedArray | str) -> int:
    return len(group) if isinstance(group, str) else int(group.nbytes)
