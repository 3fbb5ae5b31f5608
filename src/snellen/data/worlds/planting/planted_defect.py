"""What every planted defect is: parameters, one verb, draws for the rows of a table, and images changed when read."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import Field

from snellen.core.errors import InputError
from snellen.core.images import ImageSet
from snellen.core.method import Method
from snellen.core.randomness import Randomness, derive_seed


def uniform_by_id(rng: Randomness, ids: Sequence[str], stream: str) -> NDArray[np.float64]:
    """Draw a number in [0, 1) for each id: float64 (n,).

    One hash for each id and no generator, which takes 0.3 s for 100,000 rows. An id draws the same in any company.

    >>> rng = Randomness(0)
    >>> bool(uniform_by_id(rng, ["a", "b"], "noise")[1] == uniform_by_id(rng, ["b"], "noise")[0])
    True
    """
    # 53 of the 63 bits: as many as a float64 holds below 1.
    drawn = [derive_seed(rng.seed, *rng.path, stream, one) >> 10 for one in ids]
    return np.asarray(drawn, dtype=np.float64) / 2**53


def integer_by_id(rng: Randomness, ids: Sequence[str], stream: str, below: int) -> NDArray[np.int64]:
    """Draw an integer in [0, ``below``) for each id: int64 (n,).

    >>> sorted(set(integer_by_id(Randomness(0), [str(i) for i in range(50)], "pick", 3).tolist()))
    [0, 1, 2]
    """
    return (uniform_by_id(rng, ids, stream) * below).astype(np.int64)


def choose_exactly(
    rng: Randomness, ids: Sequence[str], stream: str, candidates: NDArray[np.bool_], count: int
) -> NDArray[np.bool_]:
    """Choose ``count`` of the candidates at random without replacement: bool (n,).

    Candidates are ranked by their draws, ties by id: the choice does not depend on the order of rows. A larger count
    keeps what a smaller one chose.

    >>> choose_exactly(Randomness(0), ["a", "b", "c"], "pick", np.array([True, False, True]), 2).tolist()
    [True, False, True]
    """
    positions: list[int] = np.flatnonzero(candidates).tolist()
    names = [ids[position] for position in positions]
    draws = uniform_by_id(rng, names, stream)
    ranked = sorted(range(len(names)), key=lambda place: (draws[place], names[place]))
    chosen = np.zeros(len(ids), dtype=np.bool_)
    chosen[[positions[place] for place in ranked[:count]]] = True
    return chosen


class PlantedDefect(Method, ABC):
    """A defect of an image set, planted on purpose.

    What happens to a row follows from the seed, the row's id and the defect's key alone, and a higher rate keeps what a
    lower one chose. Defects that promise exact counts say so; they rank rows by draws of their ids.
    """

    key: str | None = Field(
        None,
        pattern=r"^[a-z0-9_]{1,40}$",
        description="name of this defect in the column planted and in its draws; two of a kind need different ones",
    )
    touch_test: bool = Field(False, description="plant in test images too")

    @abstractmethod
    def plant(self, images: ImageSet, *, rng: Randomness) -> ImageSet:
        """The images with the defect, and with the truth about it in their columns."""

    @property
    def truth_key(self) -> str:
        """Name in the column ``planted``: the key, or the name of this kind of defect."""
        return self.key or self.name

    def draws(self, rng: Randomness) -> Randomness:
        """Randomness of this defect: independent of that of others."""
        return rng.child("planting", self.truth_key)

    def rows_in_reach(self, images: ImageSet) -> NDArray[np.bool_]:
        """Rows that the defect may touch, bool (n,): all but test images, or all with ``touch_test``.

        Raises:
            InputError: there are images, but none in reach.
        """
        if self.touch_test:
            return np.ones(len(images), dtype=np.bool_)
        of_test = np.asarray([split == "test" for split in images.column("split")], dtype=np.bool_)
        reach = ~(of_test | (images.split == "test"))
        if len(images) and not reach.any():
            raise InputError(
                f"{images.name} holds test images only, which {self.truth_key} leaves alone; plant it in another "
                f"split, or set touch_test=True"
            )
        return reach


def single_labels(images: ImageSet, purpose: str, *, least_classes: int = 1) -> tuple[NDArray[np.int64], int]:
    """Labels (n,), −1 where unknown, and the number of classes.

    Raises:
        InputError: the set has no single label for each image, or fewer classes than needed.
        LabelsHiddenError: this is a label-free view.
    """
    labels = images.labels
    if images.class_names is None or (len(labels) and not (labels >= 0).any()):
        raise InputError(f"{purpose} needs one label for each image; {images.name} has none")
    if len(images.class_names) < least_classes:
        raise InputError(
            f"{purpose} needs {least_classes} classes at least; {images.name} has {len(images.class_names)}"
        )
    return labels, len(images.class_names)


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

    def mask_hash(self, index: int, path: str) -> str | None:
        """Hash of the stored bytes of the mask before (sha256, hex); None where the content of the image covers it."""
        images, position = self._origin(index)
        return images.mask_hash(position)

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
