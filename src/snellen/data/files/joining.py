"""Several image sets as one: the train and the validation part of an archive, or the folders of two hospitals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from PIL import Image

from snellen.core.errors import InputError, RejectedImageError
from snellen.core.images import COLUMNS, ImageSet
from snellen.data.files.bags import TiledSource, boxes_of_tiles, tiled_source


@dataclass(frozen=True, eq=False)
class JoinedSource:
    """Images of several sets, one set after the other."""

    parts: tuple[ImageSet, ...]

    def read(self, index: int) -> Image.Image:
        """Decode one image to RGB, at its own size."""
        part, position = self.find(index)
        return part.read(position)

    def read_mask(self, index: int, path: str) -> Image.Image:
        """Mask of one image ("L")."""
        part, position = self.find(index)
        mask = part.read_mask(position)
        if mask is None:
            raise RejectedImageError(f"{part.name} has no mask {path}")
        return mask

    def content_hash(self, index: int) -> str:
        """Hash of the stored bytes of one image (sha256, hex)."""
        part, position = self.find(index)
        return part.content_hash(position)

    def mask_hash(self, index: int, path: str) -> str | None:
        """Hash of the stored bytes of one mask (sha256, hex); None where the content of the image covers it."""
        part, position = self.find(index)
        return part.mask_hash(position)

    def find(self, index: int) -> tuple[ImageSet, int]:
        """The set that holds a row, and its position there."""
        for part in self.parts:
            if index < len(part):
                return part, index
            index -= len(part)
        raise IndexError(index)


class JoinedTiles(JoinedSource):
    """Tiles of several sets: where each lies in its bag is known
    (:class:`~snellen.data.files.bags.TiledSource`).
    """

    def bag_thumbnail(self, bag_id: str, longest: int) -> Image.Image:
        """The whole bag as one picture, RGB; that of the first set which has the bag."""
        part = next((part for part in self.parts if bag_id in part.column("bag_id")), None)
        if part is None:
            raise InputError(f"there is no bag {bag_id!r} in {', '.join(part.name for part in self.parts)}")
        return tiled_source(part).bag_thumbnail(bag_id, longest)

    def tile_boxes(self, rows: Sequence[int] | NDArray[np.int64]) -> NDArray[np.float64]:
        """Where tiles lie in their bags: x0, y0, x1, y1 as shares of width and height, (m, 4)."""
        found = (self.find(int(row)) for row in rows)
        boxes = [boxes_of_tiles(part, [position])[0] for part, position in found]
        return np.array(boxes, dtype=np.float64).reshape(-1, 4)


def join(parts: Sequence[ImageSet], *, name: str | None = None) -> ImageSet:
    """Put sets of the same classes together, in this order; ids must stay unique.

    Raises:
        InputError: no sets, sets of other classes, or ids that occur twice.
    """
    if not parts:
        raise InputError("at least one image set is needed")
    classes = {part.class_names for part in parts}
    if len(classes) > 1:
        raise InputError(f"sets of different classes cannot be joined: {', '.join(part.name for part in parts)}")
    tables = pa.concat_tables([_with_split(part) for part in parts], promote_options="default")
    splits = {part.split for part in parts}
    tiled = all(isinstance(part.source, TiledSource) for part in parts)
    return ImageSet(
        (JoinedTiles if tiled else JoinedSource)(tuple(parts)),
        tables,
        parts[0].class_names,
        name or " + ".join(part.name for part in parts),
        split=splits.pop() if len(splits) == 1 else None,
        hidden=any(part.hidden for part in parts),
    )


def _with_split(part: ImageSet) -> pa.Table:
    """The table of a set, with its split in it: a test set must stay one among others."""
    if part.split is None or "split" in part.table.column_names:
        return part.table
    return part.table.append_column("split", pa.array([part.split] * len(part), COLUMNS["split"]))
