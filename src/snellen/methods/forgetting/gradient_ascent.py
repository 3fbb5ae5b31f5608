"""Gradient ascent: raise the loss on the forget set, min −L(θ; forget set).

Thudi, Deza, Chandrasekaran and Papernot, "Unrolling SGD", EuroS&P 2022, arXiv 2109.13398, section 6.
"""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field
from torch import Tensor, nn

from snellen.methods.forgetting.forget_split import ForgetSplit
from snellen.methods.forgetting.forgetter import Forgetting, TunedForgetter
from snellen.models.classifiers.trainable import PreparedNetwork
from snellen.training.batches import Batch
from snellen.training.objectives import classify


class GradientAscent(TunedForgetter):
    """Train on with the forget set alone, upwards (GA).

    The remaining images are not seen, so a rate that is too high destroys the classifier.

    >>> GradientAscent().learning_rate
    0.0001
    """

    name: ClassVar[str] = "gradient_ascent"

    epochs: int = Field(5, ge=1, description="passes over the forget set")
    learning_rate: float = Field(1e-4, gt=0, description="of SGD")

    def forgotten(self, network: PreparedNetwork, split: ForgetSplit, call: Forgetting) -> PreparedNetwork:
        """Ascend on the forget set."""

        def objective(model: nn.Module, batch: Batch) -> Tensor:
            return -classify(model, batch)

        return self.trained_on(network, split.forgotten, call, objective)
