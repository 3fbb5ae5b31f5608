"""Gaussian training: cross-entropy of noisy images, so that the majority under noise is worth certifying.

Cohen, Rosenfeld and Kolter, ICML 2019, arXiv 1902.02918, section 3.3; for halves, Xia et al., ICLR 2024, arXiv
2404.09586, section 4.
"""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from snellen.methods.smoothing.noisy_training import NoisyTraining, copies_mean, on_noisy_copies
from snellen.training.objectives import Objective


class GaussianSmoothing(NoisyTraining):
    """Train on images under Gaussian noise.

    >>> GaussianSmoothing(split_pixels=True).noise
    NoiseRecord(sigma=0.25, view='contrast', grey=False)
    """

    name: ClassVar[str] = "gaussian_smoothing"
    treats: ClassVar[tuple[str, ...]] = ("adversarial",)

    copies: int = Field(1, ge=1, description="noisy copies of each image in a step")

    def objective(self) -> Objective:
        """Cross-entropy of noisy copies."""
        return on_noisy_copies(self.noise, self.copies, copies_mean)
