"""Images of a set, some of them changed when they are read."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from snellen.errors import InputError
from snellen.images import ImageSet

#: The picture, or mask, of a row after the change. Rows are those of the changed source.
PictureChange = Callable[[Image.Image, int], Image.Image]


@dataclass(frozen=True, eq=False)
class ChangedSource:
    """A source over a set: each row shows one of its images, as it is or changed.

    Attributes:
        images: the set before.
        origins: position in it that each row shows, int64 (n,).
        recipes: for each row, text that says everything about the change; None where there is none.
        change: how a picture is changed.
        change_mask: how its mask is changed; None leaves it.
    """

    images: ImageSet
    origins: NDArray[np.int64]
    recipes: Sequence[str | None]
    change: PictureChange
    change_mask: PictureChange | None = None

    def read(self, index: int) -> Image.Image:
        """Decode one image to RGB, changed. Raises RejectedImageError when it cannot be decoded."""
        picture = self.images.read(int(self.origins[index]))
        return picture if self.recipes[index] is None else self.change(picture, index)

    def read_mask(self, index: int, path: str) -> Image.Image:
        """Mask of one image ("L"), changed as its picture was."""
        mask = self.images.read_mask(int(self.origins[index]))
        if mask is None:
            raise InputError(f"row {index} of {self.images.name} has no mask ({path})")
        return mask if self.recipes[index] is None or self.change_mask is None else self.change_mask(mask, index)

    def content_hash(self, index: int) -> str:
        """Hash of the image before and of what was done to it (sha256, hex); that of the image if nothing was."""
        before, recipe = self.images.content_hash(int(self.origins[index])), self.recipes[index]
        return before if recipe is None else hashlib.sha256(f"{before} {recipe}".encode()).hexdigest()
