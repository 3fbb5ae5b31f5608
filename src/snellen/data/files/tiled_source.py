"""Where a tile lies in its slide, and what the slide looks like from afar: what a heat map is drawn of."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from snellen.core.errors import InputError
from snellen.core.images import ImageSet


@runtime_checkable
class TiledSource(Protocol):
    """A source of which each row is a tile of a larger picture, its bag."""

    def bag_thumbnail(self, bag_id: str, longest: int) -> Image.Image:
        """The whole bag as one picture (RGB) of at most ``longest`` pixels along each side.

        Raises:
            RejectedImageError: it cannot be read.
            InputError: there is no such bag.
        """
        ...

    def tile_boxes(self, rows: Sequence[int] | NDArray[np.int64]) -> NDArray[np.float64]:
        """Where the tiles of these rows of the source lie in their bags: (m, 4), x0, y0, x1, y1.

        As shares of the bag's width and height, so that they fit a thumbnail of any size: from 0 at the outer corner of
        the first pixel to 1 at that of the last.
        """
        ...


def boxes_of_tiles(images: ImageSet, positions: Sequence[int] | NDArray[np.int64]) -> NDArray[np.float64]:
    """Where the tiles at these positions of a set lie in their bags: (m, 4), as :meth:`TiledSource.tile_boxes`.

    Raises:
        InputError: the images are no tiles of larger pictures.
    """
    assert images.rows is not None
    return tiled_source(images).tile_boxes(images.rows[np.asarray(positions, dtype=np.int64)])


def tiled_source(images: ImageSet) -> TiledSource:
    """The source of a set of tiles.

    Raises:
        InputError: the images are no tiles of larger pictures.
    """
    if not isinstance(images.source, TiledSource):
        raise InputError(f"{images.name} is no set of tiles: where its images lie in larger pictures is not known")
    return images.source
