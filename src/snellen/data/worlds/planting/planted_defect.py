"""What every planted defect is: parameters, one verb, and a name under which its truth is kept."""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from snellen.core.errors import InputError
from snellen.core.images import ImageSet
from snellen.core.method import Method
from snellen.core.randomness import Randomness


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
