"""Table rows of copies: what of an original stays true of its copy."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from snellen.core.images import COLUMNS, ImageSet, Provenance, Split
from snellen.data.worlds.planting.near_copies import NearCopy
from snellen.data.worlds.planting.truth import set_column


def copied_rows(
    originals: ImageSet, ids: Sequence[str], copies: Sequence[NearCopy], *, split: Split | None
) -> pa.Table:
    """Rows for copies of these images, one each.

    Reads the size of an image where boxes have to move; nothing else is decoded.

    Args:
        originals: the n images that are copied.
        ids: of the copies (n).
        copies: how each differs (n).
        split: of the copies; None leaves that of each original.
    """
    table = set_column(originals.table, "id", pa.array(ids, COLUMNS["id"]))
    moved = pa.array([copy.moves_pixels for copy in copies], pa.bool_())
    for column in ("attributes", "caption"):
        if column in table.column_names:
            # They may speak of places, and of the picture as it was.
            values = zip(table[column].to_pylist(), moved.to_pylist(), strict=True)
            table = set_column(table, column, pa.array([None if gone else one for one, gone in values], pa.string()))
    if "mask" in table.column_names:
        named = zip(table["mask"].to_pylist(), ids, strict=True)
        paths = [None if path is None else f"masks/{one}.png" for path, one in named]
        table = set_column(table, "mask", pa.array(paths, COLUMNS["mask"]))
    if "boxes" in table.column_names:
        table = set_column(table, "boxes", pa.array(_boxes(originals, copies), COLUMNS["boxes"]))
    if split is not None:
        table = set_column(table, "split", pa.array([split] * len(ids), COLUMNS["split"]))
    return set_column(table, "provenance", pa.array(_provenance(originals, copies), COLUMNS["provenance"]))


def _boxes(originals: ImageSet, copies: Sequence[NearCopy]) -> list[list[list[float]] | None]:
    boxes: list[list[list[float]] | None] = originals.table["boxes"].to_pylist()
    for index, (copy, known) in enumerate(zip(copies, boxes, strict=True)):
        if known and copy.moves_pixels:
            width, height = originals.read(index).size
            boxes[index] = copy.apply_to_boxes(np.asarray(known, dtype=np.float64), width, height).tolist()
    return boxes


def _provenance(originals: ImageSet, copies: Sequence[NearCopy]) -> list[str]:
    """An edited image, whatever its original was: what made it has its traces still."""
    rows = zip(originals.ids, originals.column("provenance"), copies, strict=True)
    made = []
    for example_id, text, copy in rows:
        before = Provenance() if text is None else Provenance.model_validate_json(str(text))
        origin = before.origin if copy.kind == "exact" else "edited"
        made.append(before.model_copy(update={"origin": origin, "source_id": example_id}).model_dump_json())
    return made
