"""AugMix: mixed chains of operations, and answers that agree between them.

Hendrycks, Mu, Cubuk, Zoph, Gilmer and Lakshminarayanan, "AugMix: A simple data processing method to improve robustness
and uncertainty", ICLR 2020, arXiv 1912.02781, algorithm 1 and section 3. Operations that resemble the corruptions of
ImageNet-C (contrast, colour, brightness, sharpness) are left out, as published.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from snellen.training.batches import Batch
from snellen.training.fitting.recipe import ClassifierRecipe
from snellen.training.objectives import Objective, cross_entropy
from snellen.training.transforms import BatchTransform, aug_mix


class AugMix(ClassifierRecipe):
    """Train on images and two mixtures of each; one step costs three.

    >>> AugMix().consistency
    12.0
    """

    name: ClassVar[str] = "augmix"
    treats: ClassVar[tuple[str, ...]] = ("corruption", "calibration")

    severity: int = Field(3, ge=1, le=10, description="strength of the operations")
    width: int = Field(3, ge=1, description="chains that are mixed")
    consistency: float = Field(12.0, ge=0, description="weight of the agreement between the views (λ)")

    def objective(self) -> Objective:
        """Cross-entropy of the clean image, and λ times the Jensen–Shannon divergence of the three answers."""
        mix = aug_mix(severity=self.severity, width=self.width)
        return agreeing(mix, self.consistency)


def agreeing(mix: BatchTransform, weight: float) -> Objective:
    """Cross-entropy of an image, and agreement with two changed views of it, all in one forward pass."""

    def objective(model: nn.Module, batch: Batch) -> Tensor:
        views = [mix(batch.images, batch.targets, batch.rng.child("view", number))[0] for number in (1, 2)]
        scores = model(torch.cat([batch.images, *views])).float()
        clean, first, second = scores.chunk(3)
        return cross_entropy(clean, batch.targets) + weight * jensen_shannon(clean, first, second)

    return objective


def jensen_shannon(*scores: Tensor) -> Tensor:
    """Jensen–Shannon divergence of the answers of k views, in nats: k logits (n, c) → (n,), between 0 and ln k.

    The mean of KL(pᵢ ‖ m), with m the mean of the pᵢ (equation 1 of AugMix).

    >>> jensen_shannon(torch.tensor([[50.0, 0.0]]), torch.tensor([[0.0, 50.0]]))
    tensor([0.6931])
    """
    logarithms = torch.stack([one.log_softmax(1) for one in scores])
    mean = logarithms.exp().mean(0).clamp_min(1e-7).log()
    return (logarithms.exp() * (logarithms - mean)).sum(2).mean(0)
