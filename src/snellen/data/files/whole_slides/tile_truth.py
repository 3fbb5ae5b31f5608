"""The truth of tiles, where it lies beside a slide: for testing only."""

from __future__ import annotations

import json
from pathlib import Path, PurePosixPath

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from snellen.core.errors import InputError, RejectedImageError
from snellen.data.files.contained_file import locate
from snellen.data.files.whole_slides.tiling import TileIndex, Tiling

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
