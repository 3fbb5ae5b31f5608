"""Images that are made one by one, by a function of their number."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence

import pyarrow as pa
from PIL import Image

from snellen.core.deep_picture import stored_values
from snellen.core.errors import InputError, RejectedImageError
from snellen.core.images import ImageSet
from snellen.core.preprocessing import Stated
from snellen.data.files.manifest import meaning
from snellen.data.files.manifest_table import Written


class ItemSource:
    """Images by number.

    Args:
        picture: number → RGB picture; any error that it raises makes that image rejected, by name.
    """

    def __init__(self, picture: Callable[[int], Image.Image]) -> None:
        self._picture = picture

    def read(self, index: int) -> Image.Image:
        """One image as RGB. Raises RejectedImageError with the reason when it cannot be made."""
        try:
            return self._picture(index)
        except RejectedImageError:
            raise
        except Exception as error:  # a data set of the user raises what it likes
            # Its words may hold the name of a file, which is perhaps that of a person; its kind does not.
            words = error.strerror if isinstance(error, OSError) and error.strerror else type(error).__name__
            raise RejectedImageError(f"the data set fails on it: {words}") from error

    def content_hash(self, index: int) -> str:
        """Hash of size and pixels of one image (sha256, hex), or of the reason why there are none."""
        try:
            picture = self.read(index)
        except RejectedImageError as error:
            return hashlib.sha256(f"rejected: {error}".encode()).hexdigest()
        return hashlib.sha256(f"{picture.size} ".encode() + stored_values(picture)).hexdigest()


def item_set(
    picture: Callable[[int], Image.Image],
    columns: Mapping[str, Sequence[object]],
    count: int,
    *,
    name: str,
    shown_as: str,
    class_names: Sequence[str] | None = None,
    further: Mapping[str, pa.Array] | None = None,
    stated: Stated | None = None,
    notes: Sequence[str] = (),
) -> ImageSet:
    """An image set of ``count`` pictures, with what is known about them.

    Args:
        picture: number → RGB picture.
        columns: of :data:`snellen.core.images.COLUMNS`, as Python values; without ``id``, images are numbered.
        count: how many images there are.
        name: shown in reports.
        shown_as: the name of the set in errors.
        class_names: names of classes that are numbered.
        further: other columns, as they are kept.
        stated: what the images say about preprocessing.
        notes: what was done to the pixels.

    Raises:
        InputError: no images, or a column that says what cannot be.
    """
    if not count:
        raise InputError(f"{shown_as} holds no images")
    known = dict(columns)
    known.setdefault("id", [f"{number:06d}" for number in range(count)])
    for column, values in known.items():
        if len(values) != count:
            raise InputError(f"{shown_as}: {len(values)} values of {column} for {count} images")
    rows = [f"image {number}" for number in range(count)]
    table, names, split = meaning(shown_as, Written(known, dict(further or {}), rows), class_names)
    return ImageSet(ItemSource(picture), table, names, name, split=split, stated=stated, notes=tuple(notes))
