"""CutMix: training on images into which a box of another was pasted.

Yun, Han, Oh, Chun, Choe and Yoo, "CutMix: Regularization strategy to train strong classifiers with localizable
features", ICCV 2019, arXiv 1905.04899.
"""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from snellen.training.fitting.recipe import ClassifierRecipe
from snellen.training.mixing import cutmix
from snellen.training.transforms import BatchTransform


class CutMix(ClassifierRecipe):
    """Train on pairs of images, one pasted into the other, with labels by area.

    >>> CutMix(probability=0.5).alpha
    1.0
    """

    name: ClassVar[str] = "cutmix"

    alpha: float = Field(1.0, gt=0, description="of the Beta distribution of the share that is kept")
    probability: float = Field(1.0, ge=0, le=1, description="of mixing an image; 0.5 on CIFAR, 1 on ImageNet")

    def transform(self, class_count: int) -> BatchTransform:
        """Paste after crops and flips."""
        return cutmix(class_count, self.alpha, self.probability)
