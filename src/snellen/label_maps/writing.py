"""Writing label maps so that a stopped call goes on where it stopped, and nothing half-written looks whole."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError

from snellen.errors import InputError, RunConflictError
from snellen.label_maps.sparse import SparseMaps
from snellen.label_maps.store import RECORD, ROWS, LabelMaps, MapsRecord, file_hash
from snellen.progress import Progress, Silent
from snellen.run import canonical_json, write_atomically

#: Folder inside the folder of the maps as long as they are not complete.
UNFINISHED = "unfinished"


@dataclass(frozen=True, eq=False)
class MappedImages:
    """Some consecutive images with their maps.

    Attributes:
        maps: one for each image that is not rejected.
        sizes: width and height of each image that is not rejected; 0 where unknown.
        contents: hash of the stored bytes of each image that is not rejected (sha256, hex); empty where unknown.
        rejected: position within these images → why it has no map.
    """

    maps: SparseMaps
    sizes: Sequence[tuple[int, int]]
    contents: Sequence[str]
    rejected: dict[int, str] = field(default_factory=dict)


class _Shard(BaseModel):
    """Rows that are on the disk."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    start: int
    stop: int
    sha256: str
    rejected: dict[str, str]


def existing_maps(out: Path, plan: dict[str, object], ids: Sequence[str]) -> LabelMaps | None:
    """Complete maps of this plan and these images in a folder; None where there are none yet.

    Raises:
        RunConflictError: maps of another plan or of other images.
        InputError: the folder holds something else.
    """
    if out.exists() and not out.is_dir():
        raise InputError(f"{out} is a file; name a folder for label maps")
    if (out / RECORD).is_file():
        found = LabelMaps.load(out)
        _compare(out, found.record.plan, plan, found.record.ids, ids)
        return found
    if out.is_dir() and any(path.name != UNFINISHED for path in out.iterdir()):
        raise InputError(f"{out} is not empty and holds no label maps; choose another folder")
    return None


def write_maps(
    out: Path,
    record: MapsRecord,
    produce: Callable[[int, int], MappedImages],
    *,
    batch_size: int,
    progress: Progress | None = None,
) -> LabelMaps:
    """Write the maps of all images of a record; what an earlier call wrote and its hash confirms is kept.

    Args:
        out: folder of the maps, free or unfinished.
        record: without ``rejected`` and ``sha256``.
        produce: (first, one after the last) → their maps.
        batch_size: images that are made and confirmed together.
        progress: hears of every image.

    Raises:
        RunConflictError: the folder holds unfinished maps of another plan or of other images.
        InputError: no image has a map; scores that do not fit into float16.
    """
    parts, listener = out / UNFINISHED, progress or Silent()
    rows, log = parts / ROWS, parts / "shards.jsonl"
    written = _begun(parts, record)
    if not rows.is_file():
        parts.mkdir(parents=True, exist_ok=True)
        np.lib.format.open_memmap(rows, mode="w+", dtype=record.row_type(), shape=(len(record.ids),)).flush()
        log.unlink(missing_ok=True)
        written = []
    array = np.lib.format.open_memmap(rows, mode="r+")
    done = {shard.start: shard for shard in written if _hash(array[shard.start : shard.stop]) == shard.sha256}
    listener.begin("label maps", len(record.ids))
    for start in range(0, len(record.ids), batch_size):
        stop = min(start + batch_size, len(record.ids))
        if start not in done or done[start].stop != stop:
            made = produce(start, stop)
            _put(array, start, stop, made, record)
            array.flush()
            rejected = {record.ids[start + position]: reason for position, reason in made.rejected.items()}
            shard = _Shard(start=start, stop=stop, sha256=_hash(array[start:stop]), rejected=rejected)
            done[start] = shard
            with log.open("a", encoding="utf-8") as stream:
                stream.write(shard.model_dump_json() + "\n")
                stream.flush()
                os.fsync(stream.fileno())
        listener.advance("label maps", stop - start)
    listener.finish("label maps")
    refused = {one: reason for shard in done.values() for one, reason in shard.rejected.items()}
    if len(refused) == len(record.ids):
        shutil.rmtree(parts)
        raise InputError(f"none of the {len(refused)} images has a label map: {_named(refused)}")
    del array
    finished = record.model_copy(update={"rejected": refused, "sha256": file_hash(rows)})
    os.replace(rows, out / ROWS)
    write_atomically(out / RECORD, finished.model_dump_json().encode())
    shutil.rmtree(parts)
    return LabelMaps.load(out, verify=False)


def _begun(parts: Path, record: MapsRecord) -> list[_Shard]:
    """What an unfinished call of the same plan wrote; its plan is written if there is none."""
    begun = parts / "plan.json"
    ids = hashlib.sha256(canonical_json(list(record.ids))).hexdigest()
    planned = {"plan": record.plan, "ids": ids, "classes": list(record.class_names)}
    if not begun.is_file():
        write_atomically(begun, canonical_json(planned))
        return []
    held = json.loads(begun.read_bytes())
    if held != json.loads(canonical_json(planned)):
        raise RunConflictError(
            f"{parts.parent} holds unfinished label maps of another annotator, or of other images; choose another "
            f"folder, or delete it first"
        )
    return list(_logged(parts / "shards.jsonl"))


def _logged(log: Path) -> Iterator[_Shard]:
    for line in log.read_text(encoding="utf-8").splitlines() if log.is_file() else []:
        try:
            yield _Shard.model_validate_json(line)
        except ValidationError:
            return  # the line that was being written when the call was killed


def _put(array: NDArray[np.void], start: int, stop: int, made: MappedImages, record: MapsRecord) -> None:
    kept = np.array([start + position for position in range(stop - start) if position not in made.rejected], dtype=int)
    if len(kept) != len(made.maps):
        raise InputError(f"{len(kept)} images came with {len(made.maps)} label maps")
    fresh = np.zeros(stop - start, dtype=array.dtype)
    if len(kept):
        values = made.maps.values.cpu().numpy()
        if not np.isfinite(values).all() or np.abs(values).max() > np.finfo(np.float16).max:
            raise InputError("scores of a label map must be finite and fit into float16 (at most 65,504)")
        indices = made.maps.indices.cpu().numpy()
        if indices.min() < 0 or indices.max() >= len(record.class_names):
            raise InputError(f"a label map has indices outside the {len(record.class_names)} classes")
        fresh["values"][kept - start], fresh["indices"][kept - start] = values.astype(np.float16), indices
        fresh["size"][kept - start] = made.sizes
        hashes = [bytes.fromhex(content or "00" * 32) for content in made.contents]
        fresh["content"][kept - start] = np.frombuffer(b"".join(hashes), dtype=np.uint8).reshape(-1, 32)
    array[start:stop] = fresh


def _compare(
    out: Path, held: dict[str, object], wanted: dict[str, object], held_ids: Sequence[str], ids: Sequence[str]
) -> None:
    differing = sorted(key for key in {*held, *wanted} if held.get(key) != json.loads(canonical_json(wanted)).get(key))
    if tuple(held_ids) != tuple(ids):
        differing.append("images")
    if differing:
        raise RunConflictError(
            f"{out} holds other label maps (differs in: {', '.join(differing)}); choose another folder, or delete it "
            f"first"
        )


def _hash(rows: NDArray[np.void]) -> str:
    return hashlib.sha256(rows.tobytes()).hexdigest()


def _named(rejected: dict[str, str]) -> str:
    shown = [f"{one} ({reason})" for one, reason in list(rejected.items())[:3]]
    return ", ".join(shown) + (", …" if len(rejected) > 3 else "")
