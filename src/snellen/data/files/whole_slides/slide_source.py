"""Tiles of whole slides: their pixels on demand, their columns, and their truth for testing."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from PIL import Image

from snellen.core.errors import InputError, RejectedImageError
from snellen.core.images import COLUMNS
from snellen.data.files.contained_file import locate
from snellen.data.files.whole_slides.slide_file import SlideFile
from snellen.data.files.whole_slides.slide_list import SlideList
from snellen.data.files.whole_slides.tiling import TileIndex, Tiling


@dataclass(frozen=True, eq=False)
class IndexedSlide:
    """A slide and its tiles, or the reason why it has none.

    Attributes:
        id: of the slide; the bag of its tiles.
        file: None where the slide cannot be read.
        tiles: None where there are none.
        refused: why there are none.
    """

    id: str
    file: SlideFile | None
    tiles: TileIndex | None
    refused: str = ""

    @property
    def row_count(self) -> int:
        """Rows of an image set: a slide without tiles has one, whose reading raises the reason."""
        return 1 if self.tiles is None else len(self.tiles)


class SlideSource:
    """The tiles of slides, one slide after the other.

    Args:
        slides: with their tiles.
        side: of a tile as it is given, pixels.
    """

    def __init__(self, slides: Sequence[IndexedSlide], side: int) -> None:
        self.slides, self.side = tuple(slides), side
        self._begins = np.cumsum([0, *(slide.row_count for slide in self.slides)])
        self._by_id = {slide.id: slide for slide in self.slides}

    def read(self, index: int) -> Image.Image:
        """One tile, RGB, resampled to the wanted magnification where no level has it.

        Raises:
            RejectedImageError: the region is damaged, or the slide has no tiles; the message names the slide.
        """
        slide, tile = self._find(index)
        if slide.file is None or slide.tiles is None:
            raise RejectedImageError(slide.refused)
        tiles = slide.tiles
        region = slide.file.read(int(tiles.lefts[tile]), int(tiles.tops[tile]), tiles.level, tiles.read_side)
        if region.width == self.side:
            return region
        return region.resize((self.side, self.side), Image.Resampling.BILINEAR)

    def content_hash(self, index: int) -> str:
        """Hash (sha256, hex) of the slide's fingerprint and of the place of the tile; no pixel is read.

        Of a tile that cannot be had, it is that of the reason.
        """
        slide, tile = self._find(index)
        if slide.file is None or slide.tiles is None:
            return _of_refused(slide.refused)
        tiles = slide.tiles
        try:
            fingerprint = slide.file.fingerprint
        except RejectedImageError as error:
            return _of_refused(str(error))
        place = f"{tiles.lefts[tile]} {tiles.tops[tile]} {tiles.level} {tiles.read_side} {self.side}"
        return hashlib.sha256(f"{fingerprint} {place}".encode()).hexdigest()

    def bag_thumbnail(self, bag_id: str, longest: int) -> Image.Image:
        """One whole slide from afar, RGB, at most ``longest`` pixels along each side."""
        slide = self._by_id.get(bag_id)
        if slide is None:
            raise InputError(f"there is no slide {bag_id!r} among the {len(self.slides)}")
        if slide.file is None:
            raise RejectedImageError(slide.refused)
        return slide.file.thumbnail(longest)

    def tile_boxes(self, rows: Sequence[int] | NDArray[np.int64]) -> NDArray[np.float64]:
        """Where tiles lie in their slides: x0, y0, x1, y1 as shares of width and height, (m, 4); nan without a tile."""
        boxes = np.full((len(rows), 4), np.nan)
        for position, index in enumerate(rows):
            slide, tile = self._find(int(index))
            if slide.file is None or slide.tiles is None:
                continue
            left, top, extent = slide.tiles.lefts[tile], slide.tiles.tops[tile], slide.tiles.extent
            width, height = slide.file.size
            boxes[position] = left / width, top / height, (left + extent) / width, (top + extent) / height
        return boxes

    def close(self) -> None:
        """Close all files; what is read afterwards opens them anew."""
        for slide in self.slides:
            if slide.file is not None:
                slide.file.close()

    def _find(self, index: int) -> tuple[IndexedSlide, int]:
        if not 0 <= index < self._begins[-1]:
            raise IndexError(index)
        owner = int(np.searchsorted(self._begins, index, side="right")) - 1
        return self.slides[owner], int(index - self._begins[owner])


def _of_refused(reason: str) -> str:
    return hashlib.sha256(f"rejected: {reason}".encode()).hexdigest()


#: Largest table of truth that is read, rows.
_MOST_ROWS = 2**24


def read_truth(root: Path, slide_path: str, tiles: TileIndex, tiling: Tiling) -> NDArray[np.int64] | None:
    """Label of each tile, int64 (n,), from NAME.tiles.parquet; None without such a file, or for another grid.

    The file has a row for each tile of tissue: row, column and label (1 positive); a tile that it does not list is not
    positive. Its schema carries "slide": JSON with tile_size and microns_per_pixel of the grid.

    Args:
        root: the folder that no file may lie outside of.
        slide_path: of the slide, relative to it.
        tiles: of the slide.
        tiling: the grid of the tiles.

    Raises:
        InputError: a file that is no such table.
    """
    where = PurePosixPath(slide_path)
    beside = str(where.with_name(f"{where.stem}.tiles.parquet"))
    if not (root / beside).exists():
        return None
    try:
        table = _read(locate(root, beside))
        known = json.loads(table.schema.metadata[b"slide"])
        side = float(known["tile_size"]) * float(known["microns_per_pixel"])
        rows, columns, labels = (table[name].to_numpy().astype(np.int64) for name in ("row", "column", "label"))
    except (RejectedImageError, pa.ArrowException, OSError, KeyError, TypeError, ValueError) as error:
        text = " ".join(str(error).split())[:160]
        raise InputError(f"{beside} is no table of the truth of tiles ({text}); mend it or take it away") from error
    if tiling.step != tiling.tile or not abs(side / (tiling.tile * tiling.mpp) - 1) <= 1e-6:  # NaN is another
        return None
    positive = {(row, column) for row, column in zip(rows[labels == 1], columns[labels == 1], strict=True)}
    places = zip(tiles.rows.tolist(), tiles.columns.tolist(), strict=True)
    return np.array([place in positive for place in places], dtype=np.int64)


def _read(path: Path) -> pa.Table:
    with pq.ParquetFile(path) as file:
        if file.metadata.num_rows > _MOST_ROWS:
            raise ValueError(f"{file.metadata.num_rows} rows, more than {_MOST_ROWS}")
        return file.read(columns=["row", "column", "label"])


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
