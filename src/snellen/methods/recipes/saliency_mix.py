"""SaliencyMix: training on images into which the most salient part of another was pasted.

Uddin, Monira, Shin, Chung and Bae, "SaliencyMix: A saliency guided data augmentation strategy for better
regularization", ICLR 2021, arXiv 2006.01791. Saliency is the spectral residual (Hou and Zhang, CVPR 2007), one of those
that the authors compare; their own choice is that of Montabone and Soto (2010).
"""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from snellen.training.fitting.recipe import ClassifierRecipe
from snellen.training.mixing import saliency_mix
from snellen.training.transforms import BatchTransform


class SaliencyMix(ClassifierRecipe):
    """Train on pairs of images, the salient part of one pasted into the other, with labels by area.

    >>> SaliencyMix(probability=0.5).alpha
    1.0
    """

    name: ClassVar[str] = "saliency_mix"

    alpha: float = Field(1.0, gt=0, description="of the Beta distribution of the share that is kept")
    probability: float = Field(1.0, ge=0, le=1, description="of mixing an image; 0.5 is published for CIFAR")

    def transform(self, class_count: int) -> BatchTransform:
        """Paste after crops and flips."""
        return saliency_mix(class_count, self.alpha, self.probability)
