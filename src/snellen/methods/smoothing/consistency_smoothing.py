"""Consistency training: noisy copies of an image should get the same answer.

Jeong and Shin, "Consistency regularization for certified robustness of smoothed classifiers", NeurIPS 2020, arXiv
2006.04062, section 3; weights as in Xia et al., ICLR 2024, arXiv 2404.09586.
"""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field
from torch import Tensor

from snellen.methods.smoothing.noisy_training import CopiesLoss, NoisyTraining, copies_mean, on_noisy_copies
from snellen.training.objectives import Objective


class ConsistencySmoothing(NoisyTraining):
    """Train on several noisy copies of each image, and on their agreement; a step costs as many images.

    >>> ConsistencySmoothing().copies
    4
    """

    name: ClassVar[str] = "consistency_smoothing"
    treats: ClassVar[tuple[str, ...]] = ("adversarial",)

    copies: int = Field(4, ge=2, description="noisy copies of each image in a step")
    weight: float = Field(15.0, ge=0, description="of the disagreement between the copies")
    entropy: float = Field(0.05, ge=0, description="of the entropy of their mean, relative to that")

    def objective(self) -> Objective:
        """Cross-entropy, disagreement and entropy."""
        return on_noisy_copies(self.noise, self.copies, agreeing_copies(self.weight, self.entropy))


def agreeing_copies(weight: float, entropy: float) -> CopiesLoss:
    """CE + w · (mean over copies of KL(p̄ ‖ pᵢ) + e · H(p̄)), with p̄ the mean of the copies' probabilities."""

    def loss(scores: Tensor, targets: Tensor) -> Tensor:
        logarithms = scores.log_softmax(2)
        mean = logarithms.exp().mean(1).clamp_min(1e-20)
        negative_entropy = (mean * mean.log()).sum(1)
        divergence = (negative_entropy[:, None] - (mean[:, None] * logarithms).sum(2)).mean(1)
        return copies_mean(scores, targets) + weight * (divergence - entropy * negative_entropy)

    return loss
