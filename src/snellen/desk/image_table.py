"""The audited images as columns: filtered and sorted by what the audit knows of each."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from threading import Lock, RLock, Thread
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from snellen.core.errors import InputError

if TYPE_CHECKING:
    from snellen.checks.label_sets import LabelSets

#: The evidence of the images as they are, and its column of names.
CLEAN, ID = "clean", "example_id"

#: Prefix of the columns of brightness, sharpness, …
PROPERTY = "property."

#: Columns of several labels an image, and of what the model gives of them.
LABELS, DECISIONS = "label_sets", "decision_sets"

#: Rows whose names are read without all others, and rows that are read at once.
EARLY, _STEP = 200_000, 16_384

#: Results of filters, and columns read on demand, that are kept.
_KEPT_RESULTS, _KEPT_COLUMNS = 16, 4

Outcome: TypeAlias = Literal["right", "wrong"]


class Query(BaseModel):
    """Which images, in which order; everything that is given must hold.

    Attributes:
        finding: id of a finding whose images are meant; resolved by the caller.
        label: index of the class that an image is labelled with. prediction: that it was taken for.
        outcome: of the images as they are.
        low: least confidence, in [0, 1]. high: largest.
        group: name of the group. text: part of the id.
        setting: of another check, ``corruption/fog.3``. under: the outcome in that setting.
        sort: a column; with ``-`` in front, largest first. Empty: the order of the audit.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    finding: str = Field("", max_length=64)
    label: int | None = Field(None, ge=0)
    prediction: int | None = Field(None, ge=0)
    outcome: Outcome | None = None
    low: float | None = Field(None, ge=0, le=1)
    high: float | None = Field(None, ge=0, le=1)
    group: str = Field("", max_length=400)
    text: str = Field("", max_length=400)
    setting: str = Field("", max_length=200)
    under: Outcome | None = None
    sort: str = Field("", max_length=100)


class ImageTable:
    """The images of one run.

    Args:
        folder: run directory with ``evidence/clean.parquet``.

    Raises:
        InputError: there is no such evidence, or it cannot be read.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder / "evidence"
        self._lock, self._reading = Lock(), RLock()
        self._results: OrderedDict[tuple[Query, frozenset[str] | None], NDArray[np.int64]] = OrderedDict()
        self._further: OrderedDict[str, NDArray[np.float32]] = OrderedDict()
        self._columns: dict[str, Any] = {}
        self._kinds: dict[str, int] = {}
        self._begun = pa.chunked_array([], pa.string())
        schema, self._count = self._described(CLEAN)
        self._known = tuple(schema.names)
        if ID not in self._known:
            raise InputError(f"{self._folder / 'clean.parquet'} has no column {ID}; run the audit again")
        _texts(schema, self._folder / "clean.parquet")
        self.properties = tuple(name.removeprefix(PROPERTY) for name in self._known if name.startswith(PROPERTY))

    def __len__(self) -> int:
        return self._count

    # A column is read when it is first needed: names are by far the largest, and most filters need none.

    @property
    def ids(self) -> pa.ChunkedArray:
        """Names of all images."""
        return self._column(ID, lambda: self._read(CLEAN, [ID])[ID])

    @property
    def labels(self) -> NDArray[np.int32]:
        """Indices of classes (n,); -1 where there is no label."""
        return self._numbers_of("label", np.int32, -1)

    @property
    def predictions(self) -> NDArray[np.int32]:
        """Indices of classes (n,); -1 where there is none."""
        return self._numbers_of("prediction", np.int32, -1)

    @property
    def confidence(self) -> NDArray[np.float32]:
        """Of the prediction, in [0, 1] (n,); NaN where it is not known."""
        return self._numbers_of("value", np.float32, np.nan)

    @property
    def groups(self) -> pa.DictionaryArray | None:
        """Name of each image's group; None without groups."""
        return self._column("group", self._read_groups) if "group" in self._known else None

    def sets(self) -> LabelSets | None:
        """Several labels an image, and which of them the model gives; None where an image has one.

        Raises:
            InputError: they cannot be read.
        """
        if not {LABELS, DECISIONS} <= set(self._known):
            return None

        def read() -> LabelSets | None:
            from snellen.checks.label_sets import LabelSets  # loads torch, for seconds

            found = self._read(CLEAN, [LABELS, DECISIONS])
            try:
                return LabelSets.of(found)
            except (AttributeError, TypeError, ValueError, pa.ArrowException) as error:  # of a damaged run
                file = self._folder / f"{CLEAN}.parquet"
                raise InputError(f"the labels in {file} cannot be read: {error}") from error

        return self._column(LABELS, read)

    def lost(self, place: int) -> list[int]:
        """Rows of the images with a label of several, by its place, that the model does not find.

        Raises:
            InputError: they cannot be read.
        """
        found = self.sets()
        if found is None or place >= found.labels.shape[1]:
            return []
        rows: list[int] = np.flatnonzero((found.labels[:, place] == 1) & (found.decisions[:, place] == 0)).tolist()
        return rows

    def _column(self, name: str, read: Callable[[], Any]) -> Any:  # noqa: ANN401 - arrays of NumPy and of Arrow
        with self._reading:
            if name not in self._columns:
                self._columns[name] = read()
            return self._columns[name]

    def _numbers_of(self, name: str, kind: type, missing: float) -> NDArray:
        def read() -> NDArray:
            if name not in self._known:
                return np.full(self._count, missing, dtype=kind)
            return _numbers(self._read(CLEAN, [name]), name, kind, missing)

        found: NDArray = self._column(name, read)
        return found

    def _read_groups(self) -> pa.DictionaryArray:
        found = self._read(CLEAN, ["group"], dictionary=["group"])["group"]
        if not pa.types.is_dictionary(found.type):
            found = found.dictionary_encode()
        return found.unify_dictionaries().combine_chunks()

    def prepare(self) -> None:
        """Read the names while a person sees the first images: what searches them need not wait."""

        def read() -> None:
            with suppress(InputError):  # what needs them says so
                _ = self.ids

        if ID not in self._columns:
            Thread(target=read, name="snellen-desk-names", daemon=True).start()

    def ids_at(self, rows: Sequence[int]) -> list[str]:
        """Names of the images of some rows. Of the first rows alone no more of the file is read than holds them.

        Raises:
            InputError: they cannot be read.
        """
        if not rows:
            return []
        early = ID not in self._columns and max(rows) < EARLY
        names = self._first_ids(max(rows) + 1) if early else self.ids
        found: list[str] = names.take(_places(np.array(rows, np.int64))).to_pylist()
        return found

    def _first_ids(self, count: int) -> pa.ChunkedArray:
        if len(self._begun) >= count:
            return self._begun
        file = self._folder / f"{CLEAN}.parquet"
        parts: list[pa.Array] = []
        try:
            with pq.ParquetFile(file, memory_map=False) as opened:
                for batch in opened.iter_batches(batch_size=_STEP, columns=[ID], use_threads=False):
                    parts.append(batch.column(0))
                    if sum(map(len, parts)) >= count:
                        break
            found = pa.chunked_array(parts, pa.string())
            found.validate(full=True)
        except (OSError, pa.ArrowException, ValueError) as error:
            raise InputError(f"{file} cannot be read: {error}") from error
        self._begun = found
        return found

    @cached_property
    def settings(self) -> list[str]:
        """What other checks measured image by image, as :attr:`Query.setting` names it."""
        found = []
        for path in sorted(self._folder.glob("[!.]*.parquet")):
            if path.stem != CLEAN and {"example_id", "setting", "prediction"} <= set(
                self._described(path.stem)[0].names
            ):
                read = self._read(path.stem, ["setting"], dictionary=["setting"])["setting"]
                kinds = pc.unique(read).to_pylist()
                self._kinds[path.stem] = len(kinds)
                found += [f"{path.stem}/{kind}" for kind in kinds if kind is not None]
        return found[:2_000]

    @property
    def group_names(self) -> list[str]:
        """Names of the groups, at most 500."""
        return [] if self.groups is None else [one for one in self.groups.dictionary.to_pylist() if one][:500]

    def positions(self, ids: Collection[str]) -> dict[str, int]:
        """Row of each id that is among the images."""
        wanted = pa.array(sorted(set(ids)), pa.string())
        rows = np.flatnonzero(_mask(pc.is_in(self.ids, value_set=wanted)))
        names = self.ids.take(_places(rows)).to_pylist()
        return dict(zip(names, rows.tolist(), strict=True))

    def rows(self, query: Query, members: Sequence[str] | None = None) -> NDArray[np.int64]:
        """Rows of the images that a query means, in its order.

        Args:
            query: which images.
            members: ids of the images of its finding; None: all.

        Raises:
            InputError: a setting or a column that is not there.
        """
        key = query, None if members is None else frozenset(members)
        with self._lock:
            if key in self._results:
                self._results.move_to_end(key)
                return self._results[key]
        found = self._ordered(self._chosen(query, members), query.sort)
        with self._lock:
            self._results[key] = found
            while len(self._results) > _KEPT_RESULTS:
                self._results.popitem(last=False)
        return found

    def _chosen(self, query: Query, members: Sequence[str] | None) -> NDArray[np.int64]:
        kept = np.ones(len(self), dtype=bool)
        if members is not None:
            kept &= _mask(pc.is_in(self.ids, value_set=pa.array(list(members), pa.string())))
        if query.label is not None:
            kept &= self.labels == query.label
        if query.prediction is not None:
            kept &= self.predictions == query.prediction
        if query.outcome is not None:
            kept &= (self.labels >= 0) & ((self.labels == self.predictions) == (query.outcome == "right"))
        if query.low is not None:
            kept &= self.confidence >= query.low
        if query.high is not None:
            kept &= self.confidence <= query.high
        if query.group:
            if self.groups is None:
                return np.zeros(0, dtype=np.int64)
            kept &= _mask(pc.equal(self.groups, query.group))
        if query.text:
            kept &= _mask(pc.match_substring(self.ids, query.text, ignore_case=True))
        if query.setting:
            kept &= self._under(query.setting, query.under)
        return np.flatnonzero(kept)

    def _under(self, setting: str, under: Outcome | None) -> NDArray[np.bool_]:
        name, _, kind = setting.partition("/")
        if setting not in self.settings:
            raise InputError(f"setting {setting!r}: nothing was measured image by image in it")
        table = self._read(name, [ID, "label", "prediction", "setting"], ["setting"])
        if self._kinds[name] > 1:
            table = table.filter(pc.fill_null(pc.equal(table["setting"], kind), False))
        labels = _numbers(table, "label", np.int32, -1)
        right = (labels >= 0) & (labels == _numbers(table, "prediction", np.int32, -1))
        kept = np.ones(len(table), dtype=bool) if under is None else right == (under == "right")
        ids = table["example_id"]
        if len(ids) == len(self) and ids.equals(self.ids):  # as audits write it: no name is looked for
            return kept
        return _mask(pc.is_in(self.ids, value_set=ids.filter(pa.array(kept)).combine_chunks()))

    def _ordered(self, rows: NDArray[np.int64], sort: str) -> NDArray[np.int64]:
        if not sort:
            return rows
        down, name = sort.startswith("-"), sort.removeprefix("-")
        if name == "id":
            order = _plain(pc.sort_indices(self.ids.take(_places(rows))), np.int64, 0)
            return rows[order[::-1]] if down else rows[order]
        values = self.values(name)[rows]
        order = np.argsort(-values if down else values, kind="stable")  # what is not known comes last
        return rows[order]

    def values(self, name: str) -> NDArray[np.float32]:
        """A column of numbers (n,): confidence, label, prediction, or a property of the image.

        Raises:
            InputError: there is none of that name.
        """
        known = {"confidence": self.confidence, "label": self.labels, "prediction": self.predictions}
        if name in known:
            return known[name].astype(np.float32)
        if name not in self.properties:
            raise InputError(f"column {name!r}: expected id, {', '.join((*known, *self.properties))}")
        with self._lock:
            if name in self._further:
                self._further.move_to_end(name)
                return self._further[name]
        column = f"{PROPERTY}{name}"
        found = _numbers(self._read(CLEAN, [column]), column, np.float32, np.nan)
        with self._lock:
            self._further[name] = found
            while len(self._further) > _KEPT_COLUMNS:
                self._further.popitem(last=False)
        return found

    def _described(self, evidence: str) -> tuple[pa.Schema, int]:
        """Columns of an evidence, and its number of rows."""
        file = self._folder / f"{evidence}.parquet"
        try:
            with pq.ParquetFile(file, memory_map=False) as opened:
                return opened.schema_arrow, opened.metadata.num_rows
        except (OSError, pa.ArrowException, ValueError) as error:
            raise InputError(f"{file} cannot be read: {error}") from error

    def _read(self, evidence: str, columns: Sequence[str], dictionary: Sequence[str] = ()) -> pa.Table:
        """Some columns; those of few different texts as numbers of a dictionary."""
        file = self._folder / f"{evidence}.parquet"
        try:
            # Not mapped into memory: a file that somebody shortens would end the process. Not pq.read_table: the first
            # one loads what reads folders of files, for half a second.
            with pq.ParquetFile(file, memory_map=False, read_dictionary=list(dictionary)) as opened:
                found = opened.read(columns=list(columns))
            found.validate(full=True)
        except (OSError, pa.ArrowException, ValueError) as error:
            raise InputError(f"{file} cannot be read: {error}") from error
        _texts(found.schema, file)
        return found


def _texts(schema: pa.Schema, file: Path) -> None:
    if ID in schema.names and not pa.types.is_string(schema.field(ID).type):
        raise InputError(f"{file} cannot be read: the column {ID} holds no texts")


def _numbers(table: pa.Table, name: str, kind: type, missing: float) -> NDArray:
    if name not in table.column_names:
        return np.full(len(table), missing, dtype=kind)
    column = table[name]
    if not (pa.types.is_integer(column.type) or pa.types.is_floating(column.type)):
        return np.full(len(table), missing, dtype=kind)
    return _plain(column, kind, missing)


def _places(rows: NDArray[np.int64]) -> pa.Array:
    """Numbers of rows for Arrow. Not pa.array: the first one loads pandas."""
    return pa.Array.from_buffers(pa.int64(), len(rows), [None, pa.py_buffer(np.ascontiguousarray(rows))])


def _mask(found: pa.Array | pa.ChunkedArray) -> NDArray[np.bool_]:
    return _plain(pc.cast(found, pa.uint8()), np.uint8, 0).astype(bool)


def _plain(found: pa.Array | pa.ChunkedArray, kind: type, missing: float) -> NDArray:
    """Numbers as an array. Not to_numpy and pa.scalar: the first one loads pandas, for half a second and 70 MB."""
    whole = found.combine_chunks() if isinstance(found, pa.ChunkedArray) else found
    if not len(whole):
        return np.zeros(0, kind)
    stored = np.dtype(whole.type.to_pandas_dtype())
    values: NDArray = np.frombuffer(whole.buffers()[1], stored, len(whole), whole.offset * stored.itemsize).astype(kind)
    if whole.null_count:
        values[_plain(pc.cast(pc.is_null(whole), pa.uint8()), np.uint8, 0).astype(bool)] = missing
    return values
