"""What is known about the tiles of slides, as the columns of an image set."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from snellen.core.errors import RejectedImageError
from snellen.core.images import COLUMNS
from snellen.data.files.whole_slides.slide_list import SlideList
from snellen.data.files.whole_slides.slide_source import IndexedSlide
from snellen.data.files.whole_slides.tile_truth import read_truth
from snellen.data.files.whole_slides.tiling import Tiling


def slide_table(listed: SlideList, indexed: Sequence[IndexedSlide], tiling: Tiling) -> pa.Table:
    """One row for each tile, slide by slide, and one for each slide without tiles."""
    names = listed.class_names or ()
    counts = [slide.row_count for slide in indexed]
    owners = np.repeat(np.arange(len(indexed)), counts)

    def of_slide(values: Sequence[object], column: str) -> pa.Array:
        return pa.array(values, COLUMNS[column]).take(pa.array(owners))

    def of_tile(field: str, dtype: pa.DataType) -> pa.ChunkedArray:
        parts = [
            pa.nulls(1, dtype) if one.tiles is None else pa.array(getattr(one.tiles, field), dtype) for one in indexed
        ]
        return pa.chunked_array(parts, dtype)

    slides = listed.slides
    columns: dict[str, pa.Array | pa.ChunkedArray] = {
        "id": pa.array([one for slide in indexed for one in _ids(slide)], COLUMNS["id"]),
        "bag_id": of_slide([slide.id for slide in slides], "bag_id"),
        "unit_id": of_slide(
            [slide.patient or _own_unit(one) for slide, one in zip(slides, indexed, strict=True)], "unit_id"
        ),
        "tile_row": of_tile("rows", pa.int32()),
        "tile_column": of_tile("columns", pa.int32()),
        "tissue": of_tile("tissue", pa.float32()),
    }
    if names:
        places = [None if slide.label is None else names.index(slide.label) for slide in slides]
        columns["bag_label"] = of_slide(places, "bag_label")
    if len(names) == 2:
        truth = [
            None if one.tiles is None else read_truth(listed.root, slide.path, one.tiles, tiling)
            for slide, one in zip(slides, indexed, strict=True)
        ]
        if any(part is not None for part in truth):
            parts = [
                pa.nulls(count, COLUMNS["label"]) if part is None else pa.array(part, COLUMNS["label"])
                for part, count in zip(truth, counts, strict=True)
            ]
            columns["label"] = pa.chunked_array(parts, COLUMNS["label"])
    if any(slide.site is not None for slide in slides):
        columns["group"] = of_slide([slide.site for slide in slides], "group")
    if any(slide.split is not None for slide in slides):
        columns["split"] = of_slide([slide.split for slide in slides], "split")
    return pa.table(columns)


def _own_unit(slide: IndexedSlide) -> str:
    """Unit of a slide whose patient is not known: each of two folders may have a slide 1.tif, and they are two."""
    try:
        return slide.id if slide.file is None else f"{slide.id} {slide.file.fingerprint[:8]}"
    except RejectedImageError:
        return slide.id


def _ids(slide: IndexedSlide) -> list[str]:
    if slide.tiles is None:
        return [slide.id]
    places = zip(slide.tiles.rows.tolist(), slide.tiles.columns.tolist(), strict=True)
    return [f"{slide.id}/{row:04d}-{column:04d}" for row, column in places]
