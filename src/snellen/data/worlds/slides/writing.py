"""Slides as files: pyramidal tiled TIFF that OpenSlide reads, with the truth of each tile beside it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from snellen.core.errors import InputError, import_extra
from snellen.core.renaming import rename_over
from snellen.data.worlds.slides.plan import MICRONS_PER_PIXEL, Slide
from snellen.data.worlds.slides.rendering import VERSION, render_regions

#: Pixels that are rendered together, to bound the memory for every size of slide.
_PIXELS_AT_ONCE = 2**18

#: Bytes of pixels from which on offsets no longer fit 32 bits, even if nothing can be packed.
_BIG = 2**32 - 2**25


def write_slide(slide: Slide, path: Path, *, levels: int | None = None) -> Path:
    """Write a pyramidal tiled TIFF, BigTIFF where it may exceed 4 GiB, and the truth of its tiles.

    Pixels are packed without loss (deflate). Level l is what :func:`render_regions` shows at that level, so that any
    tile of the file can be rendered again. Tiles of the file are those of the slide. Memory does not grow with the
    slide, but for 2 bytes a tile of its plan and the places of tiles in the file.

    The truth is a Parquet file "NAME.tiles.parquet" with one row for each tile of tissue: row, column and label of the
    tile; its schema carries "slide", JSON with id, label, patient, site, seed, tile_size and microns_per_pixel.

    Args:
        slide: what to write.
        path: file to write, its name ends in .tif or .tiff; one that exists is replaced when all is written.
        levels: of the pyramid; None halves until the slide fits two tiles.

    Returns:
        Path of the truth.

    Raises:
        InputError: another ending, or more levels than the slide can be halved.
        MissingExtraError: the extra snellen[wsi] is not installed.
    """
    if path.suffix.lower() not in {".tif", ".tiff"}:
        raise InputError(f"{path}: a slide is written as TIFF; give it a name that ends in .tif")
    most = level_count(slide, smallest=1)
    count = level_count(slide, smallest=2 * slide.tile_size) if levels is None else levels
    if not 1 <= count <= most:
        raise InputError(f"{count} levels requested for a slide of {slide.side} pixels; expected 1 to {most}")
    tifffile = import_extra("tifffile", "wsi", "writing slides")
    partial = path.with_name(f".{path.name}.partial")
    pixels = sum((slide.side >> level) ** 2 * 3 for level in range(count))
    try:
        with tifffile.TiffWriter(partial, bigtiff=pixels > _BIG) as writer:
            for level in range(count):
                side = slide.side >> level
                writer.write(
                    _tiles(slide, level),
                    shape=(side, side, 3),
                    dtype=np.uint8,
                    tile=(slide.tile_size, slide.tile_size),
                    photometric="rgb",
                    compression="zlib",
                    maxworkers=1,
                    buffersize=_PIXELS_AT_ONCE,
                    subfiletype=1 if level else 0,
                    resolution=(1e4 / (MICRONS_PER_PIXEL * 2**level),) * 2,
                    resolutionunit="CENTIMETER",
                    description=_description(slide) if level == 0 else None,
                    software=f"snellen {VERSION}" if level == 0 else False,
                    metadata=None,
                )
        rename_over(partial, path)
    finally:
        partial.unlink(missing_ok=True)
    truth = path.with_name(f"{path.stem}.tiles.parquet")
    pq.write_table(tile_truth(slide), truth)
    return truth


def level_count(slide: Slide, *, smallest: int) -> int:
    """Levels of a pyramid that halves until a side is at most ``smallest`` pixels."""
    levels = 1
    while slide.side >> (levels - 1) > smallest:
        levels += 1
    return levels


def tile_truth(slide: Slide) -> pa.Table:
    """One row for each tile of tissue: row, column and label (1 with tumour)."""
    rows, columns = np.nonzero(slide.tissue)
    table = pa.table(
        {
            "row": pa.array(rows, pa.int32()),
            "column": pa.array(columns, pa.int32()),
            "label": pa.array(slide.positive[rows, columns].astype(np.int64), pa.int64()),
        }
    )
    return table.replace_schema_metadata({"slide": _description(slide)})


def _tiles(slide: Slide, level: int) -> Iterator[NDArray[np.uint8]]:
    """Tiles of a level, row by row; those at the right and lower border extend beyond it, as TIFF requires."""
    size = slide.tile_size
    across = -(-(slide.side >> level) // size)
    at_once = max(1, _PIXELS_AT_ONCE // size**2)
    for first in range(0, across * across, at_once):
        numbers = range(first, min(first + at_once, across * across))
        rendered = render_regions(
            [slide] * len(numbers),
            level=level,
            tops=[number // across * size for number in numbers],
            lefts=[number % across * size for number in numbers],
            height=size,
            width=size,
        )
        yield from rendered.pixels


def _description(slide: Slide) -> str:
    known = {
        "id": slide.id,
        "label": slide.label,
        "patient": slide.patient,
        "site": slide.site,
        "seed": slide.seed,
        "tile_size": slide.tile_size,
        "microns_per_pixel": MICRONS_PER_PIXEL,
        "made_by": f"snellen {VERSION}",
    }
    return json.dumps(known)
