"""Tiles of whole slides, read when they are asked for."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from snellen.core.errors import InputError, RejectedImageError
from snellen.data.files.whole_slides.slide_file import SlideFile
from snellen.data.files.whole_slides.tiling import TileIndex


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
        """Rows of an image set: a slide without tiles has one, which tells why when it is read."""
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
