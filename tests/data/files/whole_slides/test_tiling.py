"""The grid: places, shares and levels against a count pixel by pixel."""

from __future__ import annotations

import numpy as np
import pytest
from pydantic import ValidationError

from snellen.core.errors import RejectedImageError
from snellen.data.files.whole_slides.tiling import TileIndex, Tiling, index_tiles, reading_level


def index(mask: np.ndarray, tiling: Tiling, *, size: tuple[int, int], pixel: float, **options: object) -> TileIndex:
    given = {"downsamples": (1.0, 2.0, 4.0), "mpp": 1.0, "most": 10**6, "name": "slide.tif", **options}
    return index_tiles(size, given["downsamples"], given["mpp"], mask, pixel, tiling, most=given["most"], name="x.tif")


@pytest.mark.parametrize(("tile", "stride", "mpp"), [(16, None, 1.0), (20, 7, 1.0), (16, None, 2.5), (16, 24, 0.98)])
def test_shares_are_those_of_a_count(tile: int, stride: int | None, mpp: float) -> None:
    pixel, width, height = 4, 130, 101
    mask = np.random.default_rng(0).random((-(-height // pixel), -(-width // pixel))) < 0.5
    tiles = index(mask, Tiling(tile=tile, stride=stride, mpp=mpp, tissue=0), size=(width, height), pixel=pixel)
    # A hundredth of a pixel as the unit of the count.
    fine = np.kron(mask, np.ones((pixel * 25, pixel * 25)))
    step, extent = (stride or tile) * mpp, tile * mpp
    assert tiles.extent == pytest.approx(extent)
    places = set(zip(tiles.rows.tolist(), tiles.columns.tolist(), strict=True))
    for row in range(int(height / step) + 2):
        for column in range(int(width / step) + 2):
            top, left = row * step, column * step
            inside = top + extent <= height + 0.5 and left + extent <= width + 0.5
            assert ((row, column) in places) == inside
            if inside:
                part = fine[
                    round(top * 25) : round((top + extent) * 25), round(left * 25) : round((left + extent) * 25)
                ]
                at = np.flatnonzero((tiles.rows == row) & (tiles.columns == column))[0]
                assert tiles.tissue[at] == pytest.approx(part.sum() / (extent * 25) ** 2, abs=2e-3)
                assert (tiles.tops[at], tiles.lefts[at]) == (round(top), round(left))


def test_the_least_share_decides() -> None:
    mask = np.zeros((8, 8), dtype=bool)
    mask[:4, :2] = True  # the first tile of 4 x 4 pixels of the mask is half tissue
    half = index(mask, Tiling(tile=16, tissue=0.5), size=(32, 32), pixel=4)
    assert list(zip(half.rows, half.columns, strict=True)) == [(0, 0)]
    assert len(index(mask, Tiling(tile=16, tissue=0.51), size=(32, 32), pixel=4)) == 0
    assert len(index(mask, Tiling(tile=16, tissue=0.0), size=(32, 32), pixel=4)) == 4


@pytest.mark.parametrize(
    ("mpp", "level", "side"), [(1.0, 0, 16), (1.9, 0, 30), (2.0, 1, 16), (3.0, 1, 24), (4.0, 2, 16), (10.0, 2, 40)]
)
def test_the_level_is_the_coarsest_that_is_fine_enough(mpp: float, level: int, side: int) -> None:
    mask = np.ones((64, 64), dtype=bool)
    tiles = index(mask, Tiling(tile=16, mpp=mpp), size=(256, 256), pixel=4)
    assert (tiles.level, tiles.read_side) == (level, side)


def test_odd_downsamples_count_as_what_they_mean() -> None:
    assert reading_level([1.0, 4.00063, 16.0051], 4.0) == 1
    assert reading_level([1.0, 4.00063, 16.0051], 3.8) == 0
    # 1 µm of a slide that says 0.2527 µm where 0.25 is meant: not sixteen times as many pixels for a hundredth.
    assert reading_level([1.0, 4.00063, 16.0051], 1 / 0.2527) == 1
    mask = np.ones((64, 64), dtype=bool)
    tiles = index(mask, Tiling(tile=16, mpp=0.25), size=(256, 256), pixel=4, mpp=0.2527)
    assert (tiles.level, tiles.read_side) == (0, 16)


def test_what_cannot_be_cut_is_refused() -> None:
    mask = np.ones((64, 64), dtype=bool)
    with pytest.raises(RejectedImageError, match=r"x\.tif has 1 microns per pixel, coarser than the requested 0\.5"):
        index(mask, Tiling(mpp=0.5), size=(256, 256), pixel=4)
    with pytest.raises(RejectedImageError, match="has 256 tiles of 16 pixels, more than 255"):
        index(mask, Tiling(tile=16), size=(256, 256), pixel=4, most=255)
    assert len(index(mask, Tiling(tile=512), size=(256, 256), pixel=4)) == 0
    for wrong in ({"tile": 4}, {"mpp": 0.0}, {"stride": 0}, {"tissue": 1.5}, {"tiles": 3}):
        with pytest.raises(ValidationError):
            Tiling.model_validate(wrong)
