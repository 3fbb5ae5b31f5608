"""A part of the images, told by their attributes and by no column, that a model must do badly on."""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np
from pydantic import Field

from snellen.core.errors import InputError
from snellen.core.images import ImageSet
from snellen.core.randomness import Randomness
from snellen.data.worlds.planting.conditions import Condition, rows_where
from snellen.data.worlds.planting.planted_defect import PlantedDefect, single_labels
from snellen.data.worlds.planting.row_draws import integer_by_id, uniform_by_id
from snellen.data.worlds.planting.truth import with_truth


class HiddenSubgroup(PlantedDefect):
    """A subgroup whose labels are mostly wrong, or of which few images are left.

    The column ``group`` does not tell it, so that it has to be found; ``planted`` says of each image of the subgroup
    that it is a member, and whether its label is wrong.

    >>> HiddenSubgroup(members={"background": "night"}, how="rare", rate=0.9).how
    'rare'
    """

    name: ClassVar[str] = "hidden_subgroup"

    members: Condition = Field(
        {"background": "night"}, min_length=1, description="path of a factor → value, or values: who is a member"
    )
    how: Literal["wrong labels", "rare"] = Field(
        "wrong labels", description="wrong labels: another class, all others alike; rare: images are left out"
    )
    rate: float = Field(0.8, ge=0, le=1, description="probability that it happens to a member")

    def plant(self, images: ImageSet, *, rng: Randomness) -> ImageSet:
        """The images with the subgroup.

        Raises:
            InputError: images without such attributes, no members, no labels to make wrong, or only test images.
        """
        reach, member = self.rows_in_reach(images), rows_where(images, (self.members,))
        if len(images) and not (member & reach).any():
            raise InputError(f"no image of {images.name} within reach meets {self.members}")
        draws = self.draws(rng)
        struck = reach & member & (uniform_by_id(draws, images.ids, "struck") < self.rate)
        if self.how == "rare":
            marked = with_truth(images, self.truth_key, [{"member": True} if one else None for one in member.tolist()])
            return marked.select(np.flatnonzero(~struck))
        labels, classes = single_labels(images, "a subgroup with wrong labels", least_classes=2)
        step = 1 + integer_by_id(draws, images.ids, "class", classes - 1)
        wrong = struck & (labels >= 0)
        entries = [
            {"member": True, "wrong_label": bad} if one else None
            for one, bad in zip(member.tolist(), wrong.tolist(), strict=True)
        ]
        return with_truth(images, self.truth_key, entries, labels=np.where(wrong, (labels + step) % classes, labels))
