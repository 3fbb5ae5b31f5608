"""Mixup: training on weighted means of two images and of their labels.

Zhang, Cissé, Dauphin and Lopez-Paz, "mixup: Beyond empirical risk minimization", ICLR 2018, arXiv 1710.09412.
"""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from snellen.training.fitting.recipe import ClassifierRecipe
from snellen.training.mixing import mixup
from snellen.training.transforms import BatchTransform


class Mixup(ClassifierRecipe):
    """Train on weighted means of pairs of images.

    >>> Mixup(alpha=1.0).title()
    'mixup'
    """

    name: ClassVar[str] = "mixup"
    treats: ClassVar[tuple[str, ...]] = ("calibration", "label_noise")

    alpha: float = Field(0.2, gt=0, description="of the Beta distribution of the weights; 0.1 to 0.4 on ImageNet")

    def transform(self, class_count: int) -> BatchTransform:
        """Mix after crops and flips."""
        return mixup(class_count, self.alpha)
