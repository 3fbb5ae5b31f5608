"""Rows on the disk: one array that is mapped into memory, made shard by shard, and a record that is written last.

A folder of rows holds two files: a NumPy array with one row for each image, and a JSON record of what the rows are,
with the hash of the array. As long as rows are missing, both live in a folder ``unfinished``: a stopped call resumes
where it stopped, and nothing half-written looks whole.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import DTypeLike, NDArray
from pydantic import BaseModel, ConfigDict, ValidationError

from snellen.core.errors import InputError, RunConflictError
from snellen.core.progress import Progress
from snellen.core.renaming import rename_over
from snellen.core.run import canonical_json, write_atomically

#: Folder inside the folder of the rows as long as they are not complete.
UNFINISHED = "unfinished"

_HASHED_AT_ONCE = 2**24


@dataclass(frozen=True)
class RowFiles:
    """How a kind of rows is called, in files and in messages.

    Attributes:
        what: "label maps".
        maker: what they are made by: "annotator".
        rows: name of the array.
        record: name of the record.
    """

    what: str
    maker: str
    rows: str
    record: str


@dataclass(frozen=True, eq=False)
class MadeRows:
    """Rows of some consecutive images.

    Attributes:
        rows: one for each image, rejected ones included.
        rejected: position within these images → why it has no row.
    """

    rows: NDArray[Any]
    rejected: Mapping[int, str]


class _Shard(BaseModel):
    """Rows that are on the disk."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    start: int
    stop: int
    sha256: str
    rejected: dict[str, str]


def has_record(folder: Path, files: RowFiles) -> bool:
    """Whether a folder holds complete rows; False where they can be written.

    Raises:
        InputError: a file, or a folder with something else in it.
    """
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file; name a folder for {files.what}")
    if (folder / files.record).is_file():
        return True
    names = [path.name for path in folder.iterdir()] if folder.is_dir() else []
    if UNFINISHED in names:
        # A call that was stopped between its last two steps has moved the rows, and not yet written the record.
        names = [name for name in names if name != files.rows and not name.startswith(f".{files.record}.")]
    if any(name != UNFINISHED for name in names):
        raise InputError(f"{folder} is not empty and holds no {files.what}; choose another folder")
    return False


def compare(
    folder: Path,
    files: RowFiles,
    held: Mapping[str, object],
    wanted: Mapping[str, object],
    held_ids: Sequence[str],
    ids: Sequence[str],
) -> None:
    """See that complete rows were made as wanted, of the same images.

    Raises:
        RunConflictError: by another plan or of other images; the message names what differs.
    """
    plan = json.loads(canonical_json(wanted))
    differing = sorted(key for key in {*held, *plan} if held.get(key) != plan.get(key))
    if tuple(held_ids) != tuple(ids):
        differing.append("images")
    if differing:
        raise RunConflictError(
            f"{folder} holds other {files.what} (differs in: {', '.join(differing)}); choose another folder, or delete "
            f"it first"
        )


def write_rows(
    folder: Path,
    files: RowFiles,
    *,
    plan: Mapping[str, object],
    ids: Sequence[str],
    dtype: DTypeLike,
    shape: tuple[int, ...] = (),
    produce: Callable[[int, int, Callable[[int], None]], MadeRows],
    finish: Callable[[dict[str, str], str], bytes],
    shard: int,
    progress: Progress,
) -> None:
    """Write the rows of all images; what an earlier call wrote and its hash confirms is kept.

    Args:
        folder: free or unfinished (see :func:`has_record`).
        files: what the rows are called.
        plan: JSON of everything that the rows follow from but the images.
        ids: of the images.
        dtype: type of a row.
        shape: of a row.
        produce: (first, one after the last, callback) → their rows; while it works it may call the callback with the
            number of images that are done since the last call.
        finish: (rejected images with their reasons, hash of the array) → the record.
        shard: images that are made and confirmed together.
        progress: is called for every image.

    Raises:
        RunConflictError: the folder holds unfinished rows of another plan or of other images.
        InputError: no image has a row.
    """
    parts = folder / UNFINISHED
    rows, log = parts / files.rows, parts / "shards.jsonl"
    written = _begun(parts, files, plan, ids)
    if written and not rows.is_file() and (folder / files.rows).is_file():
        rename_over(folder / files.rows, rows)
    if not rows.is_file():
        parts.mkdir(parents=True, exist_ok=True)
        np.lib.format.open_memmap(rows, mode="w+", dtype=np.dtype(dtype), shape=(len(ids), *shape)).flush()
        log.unlink(missing_ok=True)
        written = []
    array = np.lib.format.open_memmap(rows, mode="r+")
    done = {one.start: one for one in written if _hash(array[one.start : one.stop]) == one.sha256}
    progress.begin(files.what, len(ids))
    for start in range(0, len(ids), shard):
        stop, reported = min(start + shard, len(ids)), 0

        def tell(count: int) -> None:
            nonlocal reported
            reported += count
            progress.advance(files.what, count)

        if start not in done or done[start].stop != stop:
            made = produce(start, stop, tell)
            array[start:stop] = made.rows
            array.flush()
            rejected = {ids[start + position]: reason for position, reason in made.rejected.items()}
            done[start] = _Shard(start=start, stop=stop, sha256=_hash(array[start:stop]), rejected=rejected)
            with log.open("a", encoding="utf-8") as stream:
                stream.write(done[start].model_dump_json() + "\n")
                stream.flush()
                os.fsync(stream.fileno())
        progress.advance(files.what, stop - start - reported)
    progress.finish(files.what)
    # Of an earlier call with another size of shards, some begin elsewhere.
    shards = [done[start] for start in range(0, len(ids), shard)]
    refused = {one: reason for part in shards for one, reason in part.rejected.items()}
    if len(refused) == len(ids):
        shutil.rmtree(parts)
        raise InputError(f"none of the {len(refused)} images has {files.what}: {_named(refused)}")
    del array
    record = finish(refused, file_hash(rows))
    rename_over(rows, folder / files.rows)
    write_atomically(folder / files.record, record)
    shutil.rmtree(parts)


def open_rows(folder: Path, files: RowFiles, *, mode: Literal["r", "c"] = "r") -> NDArray[Any]:
    """All rows, mapped into memory: one is read from the disk when it is used.

    Args:
        folder: of complete rows.
        files: what the rows are called.
        mode: ``r``, or ``c`` for an array whose changes stay in memory.

    Raises:
        InputError: not such a file. Arrays of objects are refused: nothing is unpickled.
    """
    try:
        rows: NDArray[Any] = np.lib.format.open_memmap(folder / files.rows, mode=mode)
        return rows
    except (OSError, ValueError) as error:
        raise InputError(f"{folder / files.rows} cannot be read as rows of {files.what}: {error}") from error


def check_hash(folder: Path, files: RowFiles, sha256: str) -> None:
    """See that the array is the one of its record; InputError where it has changed since."""
    if file_hash(folder / files.rows) != sha256:
        raise InputError(f"{folder / files.rows} has changed since it was written (its hash differs); make it again")


def file_hash(path: Path) -> str:
    """Hash of a file (sha256, hex), read piece by piece."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while piece := stream.read(_HASHED_AT_ONCE):
            digest.update(piece)
    return digest.hexdigest()


def _begun(parts: Path, files: RowFiles, plan: Mapping[str, object], ids: Sequence[str]) -> list[_Shard]:
    """What an unfinished call of the same plan wrote; its plan is written if there is none."""
    begun = parts / "plan.json"
    planned = canonical_json({"plan": dict(plan), "ids": hashlib.sha256(canonical_json(list(ids))).hexdigest()})
    if not begun.is_file():
        write_atomically(begun, planned)
        return []
    if begun.read_bytes() != planned:
        raise RunConflictError(
            f"{parts.parent} holds unfinished {files.what} of another {files.maker}, or of other images; choose "
            f"another folder, or delete it first"
        )
    return list(_logged(parts / "shards.jsonl"))


def _logged(log: Path) -> Iterator[_Shard]:
    # Not splitlines(): names of images may hold other characters that it takes for ends of lines.
    for line in log.read_text(encoding="utf-8", errors="replace").split("\n") if log.is_file() else []:
        try:
            yield _Shard.model_validate_json(line)
        except ValidationError:
            continue  # empty, or the line that was being written when a call was killed, and the one behind it


def _hash(rows: NDArray[Any]) -> str:
    return hashlib.sha256(rows.tobytes()).hexdigest()


def _named(rejected: Mapping[str, str]) -> str:
    shown = [f"{one} ({reason})" for one, reason in list(rejected.items())[:3]]
    return ", ".join(shown) + (", …" if len(rejected) > 3 else "")
