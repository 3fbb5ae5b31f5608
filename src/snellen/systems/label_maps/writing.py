"""Writing label maps so that a stopped call goes on where it stopped, and nothing half-written looks whole."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from snellen.core.errors import InputError
from snellen.core.progress import Progress, Silent
from snellen.models.encoders.row_file import MadeRows, compare, has_record, write_rows
from snellen.systems.label_maps.sparse import SparseMaps
from snellen.systems.label_maps.store import FILES, LabelMaps, MapsRecord


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


def existing_maps(out: Path, plan: dict[str, object], ids: Sequence[str]) -> LabelMaps | None:
    """Complete maps of this plan and these images in a folder; None where there are none yet.

    Raises:
        RunConflictError: maps of another plan or of other images.
        InputError: the folder holds something else.
    """
    if not has_record(out, FILES):
        return None
    found = LabelMaps.load(out)
    compare(out, FILES, found.record.plan, plan, found.record.ids, ids)
    return found


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
    write_rows(
        out,
        FILES,
        plan={**record.plan, "classes": list(record.class_names)},
        ids=record.ids,
        dtype=record.row_type(),
        produce=lambda start, stop, _: _rows(start, stop, produce(start, stop), record),
        finish=lambda rejected, sha256: (
            record.model_copy(update={"rejected": rejected, "sha256": sha256}).model_dump_json().encode()
        ),
        shard=batch_size,
        progress=progress or Silent(),
    )
    return LabelMaps.load(out, verify=False)


def _rows(start: int, stop: int, made: MappedImages, record: MapsRecord) -> MadeRows:
    """Rows as they are stored; those of rejected images are zeros."""
    kept = np.array([start + position for position in range(stop - start) if position not in made.rejected], dtype=int)
    if len(kept) != len(made.maps):
        raise InputError(f"{len(kept)} images came with {len(made.maps)} label maps")
    fresh = np.zeros(stop - start, dtype=record.row_type())
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
    return MadeRows(fresh, made.rejected)
