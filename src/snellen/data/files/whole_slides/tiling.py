"""Which tiles of a slide are used: a grid at a wanted magnification, and the tissue under each tile.

Glass is grey, stained tissue is coloured. What this does *not* separate: ink of pens is coloured, so that marks on the
glass count as tissue; tissue without stain, fat and what has faded look like glass.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field

from snellen.core.errors import RejectedImageError


def without_small_parts(mask: NDArray[np.bool_], smallest: float) -> NDArray[np.bool_]:
    """A mask without its connected parts (by sides) of fewer than ``smallest`` pixels, bool (h, w).

    >>> mask = np.array([[1, 1, 0, 0], [0, 1, 0, 1]], dtype=bool)
    >>> without_small_parts(mask, 2).astype(int).tolist()
    [[1, 1, 0, 0], [0, 1, 0, 0]]
    """
    starts, stops, width = _runs(mask)
    if not len(starts):
        return mask.copy()
    part = _parts(starts, stops, width)
    area = np.bincount(part, weights=stops - starts)
    kept = area[part] >= smallest
    # One step up where a run begins, one down behind it: their running sum is the mask.
    steps = np.zeros(mask.shape[0] * width + 1, dtype=np.int8)
    steps[starts[kept]] += 1
    steps[stops[kept]] -= 1
    return steps[:-1].cumsum(dtype=np.int8).reshape(-1, width)[:, :-1].astype(bool)


def _runs(mask: NDArray[np.bool_]) -> tuple[NDArray[np.int64], NDArray[np.int64], int]:
    """Begin and end of each horizontal run in the flattened mask, whose rows have one empty column more."""
    padded = np.pad(mask, ((0, 0), (0, 1)))
    steps = np.diff(padded.ravel().astype(np.int8), prepend=0, append=0)
    return np.flatnonzero(steps == 1), np.flatnonzero(steps == -1), padded.shape[1]


def _parts(starts: NDArray[np.int64], stops: NDArray[np.int64], width: int) -> NDArray[np.int64]:
    """Number of the connected part of each run: the smallest number among the runs of the part."""
    first = np.searchsorted(stops, starts + width, side="right")  # runs of the next row that touch from below
    last = np.searchsorted(starts, stops + width, side="left")
    touching = np.maximum(last - first, 0)
    above = np.repeat(np.arange(len(starts)), touching)
    below = np.arange(touching.sum()) - np.repeat(touching.cumsum() - touching, touching) + np.repeat(first, touching)
    number = np.arange(len(starts))
    while True:
        least = np.minimum(number[above], number[below])
        new = number.copy()
        np.minimum.at(new, number[above], least)
        np.minimum.at(new, number[below], least)
        new = np.minimum(new, new[new])
        if np.array_equal(new, number):
            return number
        number = new


#: Between these saturations (of 255) the threshold is kept: on a slide of bare glass Otsu would split its noise, and on
#: one that is full of tissue it would part pale stroma from dark nuclei.
LEAST_THRESHOLD, LARGEST_THRESHOLD = 18, 51

#: Pixels whose brightest channel is below (of 255) are what a scanner left black; their saturation is noise.
DARKEST = 25

#: Values that are counted together.
_COUNTED = 2**18


def otsu_threshold(values: NDArray[np.uint8]) -> int:
    """Otsu's threshold (IEEE Transactions on Systems, Man and Cybernetics 9, 1979): values above it are one class.

    It has the largest variance between the two classes; where all values are alike, it is that value.

    >>> otsu_threshold(np.array([1, 2, 2, 200, 201], dtype=np.uint8))
    2
    """
    flat = values.ravel()
    # In pieces: counting makes eight bytes of each.
    pieces = (flat[start : start + _COUNTED] for start in range(0, flat.size, _COUNTED))
    counts = np.sum([np.bincount(piece, minlength=256) for piece in pieces], axis=0).astype(np.float64)
    below = counts.cumsum()
    mass = (counts * np.arange(256)).cumsum()
    total, above = below[-1], below[-1] - below
    parted = (below > 0) & (above > 0)
    if not parted.any():
        return int(values.flat[0])
    between = np.zeros(256)
    difference = mass[-1] * below[parted] - mass[parted] * total
    between[parted] = difference**2 / (below[parted] * above[parted])
    return int(between.argmax())


def tissue_mask(overview: Image.Image, *, smallest: float = 0.0) -> NDArray[np.bool_]:
    """Which pixels of an overview are tissue, bool (h, w).

    Args:
        overview: the slide from afar, RGB.
        smallest: specks of tissue, and holes in it, of fewer pixels are removed.
    """
    hue_saturation_value = np.asarray(overview.convert("HSV"))
    saturation, value = hue_saturation_value[..., 1], hue_saturation_value[..., 2]
    seen = value >= DARKEST
    if not seen.any():
        return seen
    threshold = min(max(otsu_threshold(saturation[seen]), LEAST_THRESHOLD), LARGEST_THRESHOLD)
    mask = without_small_parts((saturation > threshold) & seen, smallest)
    return ~without_small_parts(~mask, smallest)


#: A level this much coarser, or a slide this much coarser than requested, still counts as fine enough: scanners write
#: 0.2527 µm where 0.25 is meant, and downsamples such as 4.0006.
_TOLERANCE = 1.05


class Tiling(BaseModel):
    """How slides are cut into tiles.

    >>> Tiling(tile=224, mpp=0.5).step
    224
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    tile: int = Field(256, ge=16, le=4096, description="side of a tile, pixels at the wanted magnification")
    mpp: float = Field(1.0, gt=0, le=1000, description="microns per pixel; 1.0 is what a lens of ten times shows")
    stride: int | None = Field(None, ge=1, le=65_536, description="from tile to tile, pixels; None: the side of a tile")
    tissue: float = Field(0.5, ge=0, le=1, description="least share of tissue of a tile; 0 takes glass too")
    slide_mpp: float | None = Field(
        None, gt=0, le=1000, description="microns per pixel of slides whose files lack it; never overrides a file"
    )

    @property
    def step(self) -> int:
        """Pixels from tile to tile."""
        return self.stride or self.tile


@dataclass(frozen=True, eq=False)
class TileIndex:
    """The tiles of one slide, rows downwards, then columns to the right; 36 bytes a tile.

    Attributes:
        level: of the slide that is read.
        read_side: side of a tile on that level, pixels; where it is not the wanted side, tiles are resampled.
        extent: side of a tile in pixels of level 0.
        rows: place of each tile in the grid, counted downwards from 0, int32 (n,).
        columns: counted to the right, int32 (n,).
        tops: first row of pixels of level 0, int64 (n,).
        lefts: first column of pixels of level 0, int64 (n,).
        tissue: share of tissue, float32 (n,).
    """

    level: int
    read_side: int
    extent: float
    rows: NDArray[np.int32]
    columns: NDArray[np.int32]
    tops: NDArray[np.int64]
    lefts: NDArray[np.int64]
    tissue: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.rows)


def reading_level(downsamples: Sequence[float], wanted: float) -> int:
    """The coarsest level that is at least as fine as wanted, or as good as that (5 %).

    >>> reading_level([1.0, 4.0006, 16.0], 4.0), reading_level([1.0, 4.0, 16.0], 15.0)
    (1, 1)

    Args:
        downsamples: of each level, ascending from 1.
        wanted: pixels of level 0 in one wanted pixel.
    """
    return max(level for level, factor in enumerate(downsamples) if level == 0 or factor <= wanted * _TOLERANCE)


def index_tiles(
    size: tuple[int, int],
    downsamples: Sequence[float],
    mpp: float,
    mask: NDArray[np.bool_],
    mask_pixel: float,
    tiling: Tiling,
    *,
    most: int,
    name: str,
) -> TileIndex:
    """The tiles of a slide that carry enough tissue.

    The grid begins in the upper left corner. Tiles that would reach beyond the right or lower border are left out.

    Args:
        size: width and height of level 0, pixels.
        downsamples: of each level, ascending from 1.
        mpp: microns per pixel of level 0.
        mask: where tissue is, bool (h, w), from the upper left corner on.
        mask_pixel: pixels of level 0 along one side of a pixel of the mask.
        tiling: tile, magnification, stride, least share of tissue.
        most: tiles of the grid that are examined.
        name: of the slide, for messages.

    Raises:
        RejectedImageError: the slide is coarser than the wanted magnification, or the grid has too many tiles.
    """
    wanted = tiling.mpp / mpp
    if wanted * _TOLERANCE < 1:
        raise RejectedImageError(
            f"slide {name} has {mpp:g} microns per pixel, coarser than the requested {tiling.mpp:g}; set mpp="
            f"{mpp:g} or more"
        )
    extent, step = tiling.tile * wanted, tiling.step * wanted
    down, across = (max(0, int((side - extent + 0.5) // step) + 1) for side in (size[1], size[0]))
    if down * across > most:
        raise RejectedImageError(
            f"slide {name} has {down * across} tiles of {tiling.tile} pixels, more than {most} (max_tiles); take "
            f"larger tiles, a larger stride or more microns per pixel"
        )
    tops, lefts = (np.arange(count, dtype=np.float64) * step for count in (down, across))
    shares = _tissue_shares(mask, tops / mask_pixel, lefts / mask_pixel, extent / mask_pixel)
    # A share is a mean of whole pixels in floating point: the last digit must not decide.
    rows, columns = np.nonzero(shares >= tiling.tissue - 1e-6)
    level = reading_level(downsamples, wanted)
    return TileIndex(
        level=level,
        read_side=max(1, round(extent / downsamples[level])),
        extent=extent,
        rows=rows.astype(np.int32),
        columns=columns.astype(np.int32),
        tops=tops[rows].round().astype(np.int64),
        lefts=lefts[columns].round().astype(np.int64),
        tissue=shares[rows, columns].astype(np.float32),
    )


def _tissue_shares(
    mask: NDArray[np.bool_], tops: NDArray[np.float64], lefts: NDArray[np.float64], side: float
) -> NDArray[np.float64]:
    """Share of tissue under squares of a grid, (len(tops), len(lefts)), in pixels of the mask and parts of them.

    The sum of a mask up to a point is bilinear within a pixel, so that interpolated sums are exact.
    """
    sums = np.zeros((mask.shape[0] + 1, mask.shape[1] + 1), dtype=np.int32)
    np.cumsum(mask, axis=0, dtype=np.int32, out=sums[1:, 1:])
    np.cumsum(sums[1:, 1:], axis=1, out=sums[1:, 1:])
    rows = [_between(sums, edges) for edges in (tops, tops + side)]
    found = [[_between(part.T, edges).T for edges in (lefts, lefts + side)] for part in rows]
    area: NDArray[np.float64] = found[1][1] - found[0][1] - found[1][0] + found[0][0]
    return area / side**2


def _between(sums: NDArray[np.generic], edges: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rows of an array at fractional positions (m,), interpolated; beyond the last, the last."""
    edges = np.clip(edges, 0, len(sums) - 1)
    first = np.minimum(edges.astype(np.int64), max(len(sums) - 2, 0))
    share = (edges - first)[:, None]
    below: NDArray[np.float64] = sums[np.minimum(first + 1, len(sums) - 1)].astype(np.float64)
    return sums[first].astype(np.float64) * (1 - share) + below * share
