"""Tiles and the slide from afar agree on where each tile lies."""

from __future__ import annotations

import numpy as np
import pytest

from snellen.core.errors import InputError
from snellen.data.files.arrays import load_arrays
from snellen.data.files.bags import TiledSource, boxes_of_tiles, tiled_source
from snellen.data.worlds.slides.slides import Slides


def test_boxes_are_where_the_thumbnail_shows_the_tile() -> None:
    tiles = Slides(count=2, tiles_across=8, tile_size=32, seed=3).images()
    chosen = tiles.select(np.arange(len(tiles))[::-3])
    source = tiled_source(chosen)
    assert isinstance(source, TiledSource)
    boxes = boxes_of_tiles(chosen, range(len(chosen)))
    for position in range(0, len(chosen), 5):
        picture = source.bag_thumbnail(str(chosen.column("bag_id")[position]), 256)
        left, top, right, bottom = (boxes[position] * [*picture.size, *picture.size]).round().astype(int)
        shown = np.asarray(picture)[top:bottom, left:right]
        np.testing.assert_array_equal(shown, np.asarray(chosen.read(position)))
    small = source.bag_thumbnail(str(chosen.column("bag_id")[0]), 100)
    assert small.size == (64, 64)


def test_what_has_no_slide() -> None:
    tiles = Slides(count=1, tiles_across=8, tile_size=32).images()
    with pytest.raises(InputError, match="there is no slide 'x'"):
        tiled_source(tiles).bag_thumbnail("x", 64)
    with pytest.raises(InputError, match="no set of tiles"):
        tiled_source(load_arrays(np.zeros((2, 4, 4), dtype=np.uint8)))
    assert boxes_of_tiles(tiles, []).shape == (0, 4)
