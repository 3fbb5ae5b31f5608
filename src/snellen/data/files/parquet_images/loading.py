"""Parquet files with images inside as an image set."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from snellen.core.errors import InputError, RejectedImageError
from snellen.core.images import ImageSet
from snellen.data.files.decoding import DEFAULT_LIMITS, SIXTEEN_BIT, DecodingLimits
from snellen.data.files.file_source import EncodedSource
from snellen.data.files.manifest import meaning
from snellen.data.files.manifest_table import MAX_BYTES, MAX_ROWS, Written
from snellen.data.files.parquet_images.layout import MAX_GROUP_BYTES, Layout, holds_images, layout_of
from snellen.data.files.parquet_tables import UNREADABLE, open_parquet, read_columns
from snellen.data.files.shard_files import ShardFile, find_shards, identity_of
from snellen.data.files.splits import split_of_file

#: Row groups are kept, unpacked, up to so many bytes in all; the one in use always is.
KEPT_BYTES = 256 * 1024**2


@dataclass(frozen=True)
class StoredShard:
    """One file, indexed already: how it holds its images, and its footer."""

    file: ShardFile
    layout: Layout
    metadata: pq.FileMetaData

    @property
    def shown_as(self) -> str:
        """How ids and messages name it."""
        return self.file.shown_as

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


#: In a folder, so many files are read to find out whether they hold images.
SAMPLED = 20


def stored_images_below(path: Path) -> Path | None:
    """The place to load from, when a file, a folder, or its subfolder ``data`` holds Parquet files with images."""
    folders = [path, path / "data"] if path.is_dir() else [path]
    for place in folders:
        try:
            shards = find_shards(str(place), ".parquet") if place.exists() else []
        except InputError:
            continue
        for shard in shards[:SAMPLED]:
            try:
                with shard.opened() as stream:
                    if holds_images(open_parquet(stream).schema_arrow):
                        return place
            except (RejectedImageError, *UNREADABLE):
                continue
    return None


def load_parquet_images(
    place: str | Path,
    *,
    label: str | None = None,
    class_names: Sequence[str] | None = None,
    name: str | None = None,
    limits: DecodingLimits = DEFAULT_LIMITS,
    grey_range: tuple[int, int] = SIXTEEN_BIT,
) -> ImageSet:
    """Index Parquet files that hold images, and give their images, read a row group at a time on demand.

    The column ``image`` (or ``img``, or the only one of its kind) holds the bytes of image files, or structs of
    ``bytes`` and ``path`` as ``datasets`` writes them; a path is never followed. Classes come from ``label``, as names
    or numbers; names of numbered classes from the description that ``datasets`` writes. Further columns of
    :data:`snellen.core.images.COLUMNS` mean what they mean in a manifest, others are not read. Ids are those of a
    column ``id``, or SHARD/ROW. A shard whose rows do not say so is of the split that its name begins with
    (``train-00000-of-00012.parquet``).

    A shard, a row group or a row that is damaged or too large stays in the set, to be rejected by name.

    Args:
        place: a file, a folder of files ending in .parquet, or FOLDER/NAME-{00000..00011}.parquet.
        label: the column with the classes.
        class_names: names of numbered classes that the file does not name.
        name: shown in reports.
        limits: what is refused of an image.
        grey_range: values of black and white in grey images of more than 8 bits.

    Raises:
        InputError: nothing there, no usable shard, shards that differ in their classes, types that are not plain.
    """
    shown_as, index = str(place), _Index(label)
    for shard in find_shards(shown_as, ".parquet"):
        index.add(shard, shown_as)
    names = class_names or index.class_names
    written = Written(index.columns(), {}, index.ids)
    if not index.shards:
        raise InputError(f"{shown_as} holds no usable images{''.join(f'; {why}' for why in index.refused.values())}")
    table, found, split = meaning(shown_as, written, names)
    source = ParquetSource(
        index.shards, index.all_places(), refused=index.refused, limits=limits, grey_range=grey_range
    )
    return ImageSet(source, table, found, name or Path(shown_as).name.removesuffix(".parquet"), split=split)


@dataclass
class _Index:
    """Rows of all shards in order, and what their columns say."""

    label: str | None
    shards: list[StoredShard] = field(default_factory=list)
    places: list[NDArray[np.int64]] = field(default_factory=list)
    stated: list[dict[str, list[object]]] = field(default_factory=list)
    refused: dict[int, str] = field(default_factory=dict)
    ids: list[str] = field(default_factory=list)
    class_names: tuple[str, ...] | None = None
    bytes_read: int = 0

    def add(self, shard: ShardFile, shown_as: str) -> None:
        """Index one shard; one that cannot be read becomes a row of its own that says so."""
        try:
            with shard.opened() as stream:
                shard = replace(shard, identity=identity_of(stream))
                file = open_parquet(stream)
                what = f"{shown_as}, {shard.shown_as}"
                layout = layout_of(file.schema_arrow, what, self.label)
                self._check(shard, layout, file.metadata)
                stated = self._stated(stream, file.metadata, layout, what)
        except RejectedImageError as error:
            self._refuse(shard, str(error))
        except InputError:
            raise
        except UNREADABLE as error:
            self._refuse(shard, f"not a readable Parquet file: {(str(error).splitlines() or ['?'])[0][:200]}")
        else:
            self._take(StoredShard(shard, layout, file.metadata), stated)

    def _check(self, shard: ShardFile, layout: Layout, metadata: pq.FileMetaData) -> None:
        names = layout.class_names
        if self.shards and names != self.class_names:
            raise InputError(f"{shard.shown_as} names other classes than the shards before it; load them apart")
        self.class_names = names
        if len(self.ids) + metadata.num_rows > MAX_ROWS:
            raise InputError(f"{shard.shown_as}: more than {MAX_ROWS} rows in all; load fewer shards")
        if sum(metadata.row_group(g).num_rows for g in range(metadata.num_row_groups)) != metadata.num_rows:
            raise RejectedImageError("damaged: its row groups hold another number of rows than it says")

    def _stated(
        self, stream: BinaryIO, metadata: pq.FileMetaData, layout: Layout, what: str
    ) -> dict[str, list[object]]:
        """Values of the columns that are known, by name; the images are not among them."""
        wanted = [*layout.known, *([layout.label] if layout.label else [])]
        table = read_columns(stream, wanted, MAX_BYTES - self.bytes_read, f"{what}: what stands beside the images")
        self.bytes_read += table.nbytes
        if wanted and len(table) != metadata.num_rows:
            raise RejectedImageError(f"damaged: it holds {len(table)} rows of {metadata.num_rows}")
        return {"label" if name == layout.label else name: table[name].to_pylist() for name in wanted}

    def _refuse(self, shard: ShardFile, problem: str) -> None:
        self.refused[len(self.ids)] = problem
        self.ids.append(shard.shown_as)
        self.places.append(np.full((1, 3), -1, dtype=np.int64))
        self.stated.append({"id": [shard.shown_as]})

    def _take(self, shard: StoredShard, stated: dict[str, list[object]]) -> None:
        stem, metadata = shard.file.shown_as.removesuffix(".parquet"), shard.metadata
        ids = [f"{stem}/{row:06d}" for row in range(metadata.num_rows)]
        given = stated.get("id", [None] * len(ids))
        stated["id"] = [one if one not in (None, "") else other for one, other in zip(given, ids, strict=True)]
        if split := split_of_file(shard.file.name):
            stated["split"] = [one or split for one in stated.get("split", [None] * len(ids))]
        for group in range(metadata.num_row_groups):
            rows, first = metadata.row_group(group).num_rows, sum(map(len, self.places))
            size = metadata.row_group(group).total_byte_size
            if size > MAX_GROUP_BYTES:
                problem = f"its row group holds {size} bytes, more than {MAX_GROUP_BYTES}; write smaller row groups"
                self.refused |= dict.fromkeys(range(first, first + rows), problem)
            numbers = np.arange(rows)
            shards = np.full(rows, len(self.shards))
            self.places.append(np.stack([shards, np.full(rows, group), numbers], axis=1).astype(np.int64))
        self.shards.append(shard)
        self.ids += ids
        self.stated.append(stated)

    def all_places(self) -> NDArray[np.int64]:
        """Shard, row group and row of every row: int64 (n, 3)."""
        return np.concatenate(self.places)

    def columns(self) -> dict[str, list[object]]:
        """Every column over all shards; None where a shard has no such column."""
        names = dict.fromkeys(name for stated in self.stated for name in stated)
        return {
            name: [value for stated in self.stated for value in stated.get(name, [None] * len(stated["id"]))]
            for name in names
        }
