"""What the shards of a call hold, gathered: evidence, and images that could not be used."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from snellen.core.evidence import Evidence
from snellen.core.images import ImageSet
from snellen.core.renaming import rename_over
from snellen.core.run import Run
from snellen.runs.record import EVIDENCE, RejectedImage


def merged_evidence(run: Run, shards: Iterable[int], name: str, without: Sequence[str] = ()) -> Evidence:
    """The evidence of this name in some shards, without what only shards hold: columns of pictures."""
    parts: list[Evidence] = []
    for shard in shards:
        part = run.shard_evidence(shard, name)
        if len(part):
            kept = [column for column in part.table.column_names if column not in without]
            parts.append(Evidence(part.table.select(kept), part.spent, part.assumptions, part.control))
    return Evidence.merge(parts)


def rejected_images(extras: Iterable[Mapping[str, Any]], images: ImageSet) -> tuple[RejectedImage, ...]:
    """Images that shards could not use, each reason once, in the order of the set, for any shards."""
    place = {key: position for position, key in enumerate(images.ids)}
    found = dict.fromkeys((row["id"], row["reason"]) for extra in extras for row in extra["rejected"])
    ordered = sorted(found, key=lambda row: place.get(row[0], len(place)))
    return tuple(RejectedImage(id=key, reason=reason) for key, reason in ordered)


def rejected_reasons(run: Run, shards: int) -> dict[str, str]:
    """The first reason for everything that shards could not use, by its id."""
    found: dict[str, str] = {}
    for shard in range(shards):
        for row in run.shard_extra(shard).get("rejected", ()):
            found.setdefault(row["id"], row["reason"])
    return found


def write_evidence(evidence: Evidence, folder: Path) -> None:
    """Write ``evidence.parquet`` into a folder, whole or not at all."""
    partial = folder / f".{EVIDENCE}.partial"
    try:
        evidence.write(partial)
        rename_over(partial, folder / EVIDENCE)
    finally:
        partial.unlink(missing_ok=True)  # where the disk is full, it would take the room
