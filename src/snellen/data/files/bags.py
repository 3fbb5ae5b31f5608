"""Bags: which images belong together, the one label that each has, whose it is, and where tiles lie in their slide."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from snellen.core.errors import InputError
from snellen.core.images import ImageSet


@dataclass(frozen=True, eq=False)
class Bags:
    """The bags of an image set, in the order in which their first images come.

    Args:
        ids: of each bag, b of them.
        labels: label of each bag, an index into the class names of the set, int64 (b,); −1 where unknown.
        units: patient, lot or other unit of a bag; None where unknown.
        members: rows of the set that belong to each bag, int64, ascending; none is empty.
    """

    ids: tuple[str, ...]
    labels: NDArray[np.int64]
    units: tuple[str | None, ...]
    members: tuple[NDArray[np.int64], ...]

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def of_image(self) -> NDArray[np.int64]:
        """Position of its bag for each image of the set, int64 (n,)."""
        found = np.empty(sum(map(len, self.members)), dtype=np.int64)
        for position, rows in enumerate(self.members):
            found[rows] = position
        return found

    @classmethod
    def of(cls, images: ImageSet, *, labelled: bool = True) -> Bags:
        """Read the columns ``bag_id``, ``bag_label`` and ``unit_id``; labels of images are not read.

        >>> import pyarrow as pa
        >>> table = pa.table({"id": ["a", "b", "c"], "bag_id": ["s", "t", "s"], "bag_label": [1, 0, 1]})
        >>> bags = Bags.of(ImageSet(None, table, ("negative", "positive")).unlabelled())
        >>> bags.ids, bags.labels.tolist(), [rows.tolist() for rows in bags.members], bags.of_image.tolist()
        (('s', 't'), [1, 0], [[0, 2], [1]], [0, 1, 0])

        Args:
            images: every one in a bag.
            labelled: every bag must have a label; without, those of unknown label are −1.

        Raises:
            InputError: no images, an image without bag, a bag of two labels or two units, or of a label that is no
                class; if ``labelled``, a bag without label.
        """
        if not len(images):
            raise InputError(f"{images.name} holds no images, so it has no bags")
        named = images.column("bag_id")
        stray = next((index for index, bag in enumerate(named) if bag is None), None)
        if stray is not None:
            raise InputError(f"image {images.ids[stray]!r} of {images.name} is in no bag; fill its column bag_id")
        rows: dict[str, list[int]] = {}
        for index, bag in enumerate(named):
            rows.setdefault(str(bag), []).append(index)
        labels = _one_each(images, rows, "bag_label")
        units = _one_each(images, rows, "unit_id")
        count = len(images.class_names or ())
        for bag, label in labels.items():
            if label is None and labelled:
                raise InputError(f"bag {bag!r} of {images.name} has no label; fill its column bag_label")
            if label is not None and not 0 <= int(str(label)) < count:
                raise InputError(f"bag {bag!r} of {images.name} has label {label}, but there are {count} classes")
        return cls(
            ids=tuple(rows),
            labels=np.array([-1 if label is None else int(str(label)) for label in labels.values()], dtype=np.int64),
            units=tuple(None if unit is None else str(unit) for unit in units.values()),
            members=tuple(np.array(members, dtype=np.int64) for members in rows.values()),
        )


def _one_each(images: ImageSet, rows: dict[str, list[int]], column: str) -> dict[str, object]:
    """The one value that a column has in each bag, None where no image of it says any."""
    values = images.column(column)
    found: dict[str, object] = {}
    for bag, members in rows.items():
        stated = {values[index] for index in members} - {None}
        if len(stated) > 1:
            one, other, *_ = sorted(map(str, stated))
            raise InputError(f"bag {bag!r} of {images.name} has two values of {column}: {one} and {other}")
        found[bag] = stated.pop() if stated else None
    return found


@runtime_checkable
class TiledSource(Protocol):
    """A source whose rows are tiles of a larger picture, the bag."""

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
