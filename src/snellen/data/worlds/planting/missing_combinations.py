"""Combinations of factors that never occur: what a model has not seen together."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from pydantic import Field

from snellen.core.errors import InputError
from snellen.core.images import ImageSet
from snellen.core.randomness import Randomness
from snellen.data.worlds.planting.conditions import Condition, rows_where
from snellen.data.worlds.planting.planted_defect import PlantedDefect
from snellen.data.worlds.planting.truth import with_truth


class MissingCombinations(PlantedDefect):
    """Images left out because of what their attributes say, such as all red stars.

    Nothing is drawn: an image stays or goes by its attributes alone. Conditions are those of
    :mod:`snellen.data.worlds.planting.conditions`; one that holds is enough.

    >>> from dataclasses import replace
    >>> from snellen.data.files.arrays import load_arrays
    >>> images = load_arrays(np.zeros((3, 4, 4), dtype=np.uint8), [0, 1, 0])
    >>> table = images.table.append_column("attributes", [['{"colour": "red"}', '{"colour": "blue"}', "{}"]])
    >>> images = replace(images, table=table).select([0, 1])
    >>> MissingCombinations(combinations=({"colour": "red"},)).plant(images, rng=Randomness(0)).ids
    ['000001']
    """

    name: ClassVar[str] = "missing_combinations"

    combinations: tuple[Condition, ...] = Field(
        ({"objects.0.shape": "star", "objects.0.colour": "red"},),
        min_length=1,
        description="path of a factor → value, or values; images that meet all of one are left out",
    )

    def plant(self, images: ImageSet, *, rng: Randomness) -> ImageSet:
        """The images that stay, in their order. What is missing can be told from the defect alone.

        Raises:
            InputError: images without such attributes, only test images, or nothing would stay.
        """
        gone = self.rows_in_reach(images) & rows_where(images, self.combinations)
        if len(images) and not gone.any():
            raise InputError(f"no image of {images.name} within reach meets {self.combinations}; is a value misspelt?")
        if len(images) and gone.all():
            raise InputError(f"all {len(images)} images of {images.name} meet {self.combinations}; nothing would stay")
        return with_truth(images, self.truth_key, [None] * len(images)).select(np.flatnonzero(~gone))
