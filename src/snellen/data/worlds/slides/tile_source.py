"""Tiles of rendered slides, with the whole slide from afar."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from snellen.core.errors import InputError
from snellen.data.worlds.rendered_source import RenderedSource
from snellen.data.worlds.slides.plan import Slide
from snellen.data.worlds.slides.rendering import RenderedRegions, render_regions


class TileSource(RenderedSource):
    """Tiles of slides, rendered when they are read.

    Args:
        slides: of one tile size.
        owners: position of the slide of each row, (n,).
        rows: of each tile in its slide, counted downwards, (n,).
        columns: of each tile in its slide, counted to the right, (n,).
        recipe: text that says everything the slides follow from.
    """

    def __init__(
        self,
        slides: Sequence[Slide],
        owners: NDArray[np.int64],
        rows: NDArray[np.int64],
        columns: NDArray[np.int64],
        recipe: str,
    ) -> None:
        self.slides, self.owners, self.rows, self.columns = tuple(slides), owners, rows, columns
        super().__init__(
            len(owners),
            lambda indices: self._rendered(indices).pixels,
            lambda index: f"{recipe} {slides[owners[index]].id} {rows[index]} {columns[index]}",
            masks=lambda indices: self._rendered(indices).masks,
            chunk=max(1, min(64, 2**18 // slides[0].tile_size ** 2)),
        )

    def bag_thumbnail(self, bag_id: str, longest: int) -> Image.Image:
        """One whole slide on the finest level of at most ``longest`` pixels, RGB."""
        slide = next((slide for slide in self.slides if slide.id == bag_id), None)
        if slide is None:
            raise InputError(f"there is no slide {bag_id!r}; the first of {len(self.slides)} is {self.slides[0].id!r}")
        return slide_thumbnail(slide, longest)

    def tile_boxes(self, rows: Sequence[int] | NDArray[np.int64]) -> NDArray[np.float64]:
        """Where tiles lie in their slides: x0, y0, x1, y1 as shares of width and height, (m, 4)."""
        chosen = np.asarray(rows, dtype=np.int64)
        across = np.array([len(self.slides[owner].tissue) for owner in self.owners[chosen]], dtype=np.float64)
        left, top = self.columns[chosen] / across, self.rows[chosen] / across
        return np.stack([left, top, left + 1 / across, top + 1 / across], 1).reshape(-1, 4)

    def _rendered(self, indices: Sequence[int]) -> RenderedRegions:
        chosen = np.asarray(indices)
        size = self.slides[0].tile_size
        return render_regions(
            [self.slides[owner] for owner in self.owners[chosen]],
            level=0,
            tops=(self.rows[chosen] * size).tolist(),
            lefts=(self.columns[chosen] * size).tolist(),
            height=size,
            width=size,
        )


def slide_thumbnail(slide: Slide, longest: int) -> Image.Image:
    """One whole slide on the finest level of at most ``longest`` pixels, RGB.

    Raises:
        InputError: less than one pixel.
    """
    if longest < 1:
        raise InputError(f"a thumbnail must be at least 1 pixel wide, got {longest}")
    level = max(0, math.ceil(math.log2(slide.side / longest)))
    extent = max(1, slide.side >> level)
    picture = render_regions([slide], level=level, tops=[0], lefts=[0], height=extent, width=extent)
    return Image.fromarray(picture.pixels[0], "RGB")
