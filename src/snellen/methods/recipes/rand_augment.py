"""RandAugment: a few random operations of one strength on every image.

Cubuk, Zoph, Shlens and Le, "RandAugment: Practical automated data augmentation with a reduced search space", NeurIPS
2020, arXiv 1909.13719, algorithm 1.
"""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from snellen.training.fitting.recipe import ClassifierRecipe
from snellen.training.transforms import BatchTransform, rand_augment


class RandAugment(ClassifierRecipe):
    """Train under random operations: rotation, shear, translation, contrast, colours and others.

    >>> RandAugment(operations=1, magnitude=5).magnitude
    5
    """

    name: ClassVar[str] = "rand_augment"
    treats: ClassVar[tuple[str, ...]] = ("corruption", "attribute")

    operations: int = Field(2, ge=1, description="operations on each image, drawn from 14 (N)")
    magnitude: int = Field(9, ge=0, le=30, description="strength of all operations, of 30 (M)")

    def transform(self, class_count: int) -> BatchTransform:
        """Operate after crops and flips."""
        return rand_augment(self.operations, self.magnitude)
