"""Fine-tuning on the remaining images, with or without a penalty that makes weights sparse.

ℓ1-sparse unlearning: Jia, Liu, Ram, Yao, Liu, Liu, Sharma and Liu, "Model sparsity can simplify machine unlearning",
NeurIPS 2023, arXiv 2304.04934, equation 3: L + α ‖θ‖₁. Fan et al. (2024) let α fall in a line: α_t = α (1 − e / E).
"""

from __future__ import annotations

from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from snellen.methods.forgetting.forget_split import ForgetSplit
from snellen.methods.forgetting.forgetter import Forgetting, TunedForgetter
from snellen.models.classifiers.trainable import PreparedNetwork
from snellen.training.batches import Batch
from snellen.training.objectives import classify


class FineTuning(TunedForgetter):
    """Train on with the remaining images, and hope that the others fade (FT).

    >>> FineTuning().epochs
    10
    """

    name: ClassVar[str] = "fine_tuning"

    def forgotten(self, network: PreparedNetwork, split: ForgetSplit, call: Forgetting) -> PreparedNetwork:
        """Cross-entropy on the remaining images."""
        return self.trained_on(network, split.remaining, call)


class SparseFineTuning(TunedForgetter):
    """Train on with the remaining images and a falling penalty on the size of all weights (FT-ℓ1).

    >>> SparseFineTuning(epochs=4).strength(1), SparseFineTuning(epochs=4).strength(4)
    (0.001, 0.00025)
    """

    name: ClassVar[str] = "sparse_fine_tuning"

    sparsity: float = Field(1e-3, ge=0, description="weight of the sum of absolute weights at the first pass (α)")

    def strength(self, epoch: int) -> float:
        """α_t of a pass, from 1: α (1 − (pass − 1) / E), so that the last pass has α / E."""
        return self.sparsity * (1 - (epoch - 1) / self.epochs)

    def forgotten(self, network: PreparedNetwork, split: ForgetSplit, call: Forgetting) -> PreparedNetwork:
        """Cross-entropy on the remaining images, and the penalty."""

        def objective(model: nn.Module, batch: Batch) -> Tensor:
            return classify(model, batch) + self.strength(batch.epoch) * absolute_sum(model)

        return self.trained_on(network, split.remaining, call, objective)


def absolute_sum(model: nn.Module) -> Tensor:
    """Sum of the absolute values of all trained parameters, ().

    >>> layer = nn.Linear(2, 1)
    >>> _ = nn.init.constant_(layer.weight, -0.5), nn.init.zeros_(layer.bias)
    >>> absolute_sum(layer).item()
    1.0
    """
    return torch.stack([one.abs().sum() for one in model.parameters() if one.requires_grad]).sum()
