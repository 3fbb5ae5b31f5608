"""Images of one set or several, some of them changed when they are read."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from snellen.core.errors import InputError
from snellen.core.images import ImageSet

#: The picture, or mask, of a row after the change. Rows are those of the changed source.
PictureChange = Callable[[Image.Image, int], Image.Image]


@dataclass(frozen=True, eq=False)
class ChangedSource:
    """A source over sets: each row shows one of their images, as it is or changed.

    Attributes:
        sets: the sets before.
        origins: which set and which position in it each row shows, int64 (n, 2).
        recipes: for each row, text that says everything about the change; None where there is none.
        change: how a picture is changed.
        change_mask: how its mask is changed; None leaves it.
    """

    sets: tuple[ImageSet, ...]
    origins: NDArray[np.int64]
    recipes: Sequence[str | None]
    change: PictureChange
    change_mask: PictureChange | None = None

    def read(self, index: int) -> Image.Image:
        """Decode one image to RGB, changed. Raises RejectedImageError when it cannot be decoded."""
        images, position = self._origin(index)
        picture = images.read(position)
        return picture if self.recipes[index] is None else self.change(picture, index)

    def read_mask(self, index: int, path: str) -> Image.Image:
        """Mask of one image ("L"), changed as its picture was."""
        images, position = self._origin(index)
        mask = images.read_mask(position)
        if mask is None:
            raise InputError(f"image {images.ids[position]!r} of {images.name} has no mask ({path})")
        return mask if self.recipes[index] is None or self.change_mask is None else self.change_mask(mask, index)

    def content_hash(self, index: int) -> str:
        """Hash of the image before and of what was done to it (sha256, hex); that of the image if nothing was."""
        images, position = self._origin(index)
        before, recipe = images.content_hash(position), self.recipes[index]
        return before if recipe is None else hashlib.sha256(f"{before} {recipe}".encode()).hexdigest()

    def _origin(self, index: int) -> tuple[ImageSet, int]:
        number, position = self.origins[index].tolist()
        return self.sets[number], position


def positions_of(number: int, positions: Sequence[int] | NDArray[np.int64]) -> NDArray[np.int64]:
    """Origins (m, 2) of positions in one set.

    >>> positions_of(1, [4, 7]).tolist()
    [[1, 4], [1, 7]]
    """
    places = np.asarray(positions, dtype=np.int64)
    return np.stack([np.full_like(places, number), places], axis=1)
