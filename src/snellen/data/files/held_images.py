"""Images in memory, of any sizes, as the source of an image set."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa
from PIL import Image

from snellen.core.deep_picture import stored_values
from snellen.core.images import COLUMNS, ImageSet

#: Columns of an image that go with its request: what is made of it says whose it is and what it may be used for.
CARRIED = ("split", "unit_id", "group", "bag_id", "labels", "provenance")


@dataclass(frozen=True, eq=False)
class HeldImages:
    """Pictures that a method holds in its hands.

    Args:
        pictures: PIL images of any size.
    """

    pictures: Sequence[Image.Image]

    def read(self, index: int) -> Image.Image:
        """One image as RGB."""
        return self.pictures[index].convert("RGB")

    def content_hash(self, index: int) -> str:
        """Hash of size and pixels of one image (sha256, hex)."""
        picture = self.read(index)
        return hashlib.sha256(f"{picture.size} ".encode() + stored_values(picture)).hexdigest()


def held_set(
    pictures: Sequence[Image.Image],
    ids: Sequence[str],
    *,
    name: str,
    classes: Sequence[str | None] | None = None,
    columns: dict[str, Sequence[object]] | None = None,
) -> ImageSet:
    """An image set of pictures in memory.

    >>> held_set([Image.new("RGB", (4, 4))], ["a"], name="one", columns={"caption": ["black"]}).column("caption")
    ['black']

    Args:
        pictures: n images.
        ids: of each.
        name: shown in reports.
        classes: name of each image's class; None where it is unknown.
        columns: further columns, of :data:`snellen.core.images.COLUMNS` or others.
    """
    table: dict[str, pa.Array] = {"id": pa.array(ids, COLUMNS["id"])}
    names = sorted({one for one in classes or () if one is not None})
    if names and classes is not None:
        table["label"] = pa.array([-1 if one is None else names.index(one) for one in classes], COLUMNS["label"])
    for column, values in (columns or {}).items():
        table[column] = pa.array(values, COLUMNS.get(column))
    return ImageSet(HeldImages(pictures), pa.table(table), tuple(names) or None, name)
