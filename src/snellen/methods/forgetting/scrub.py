"""SCRUB: a student that obeys its teacher on the remaining images, and disobeys it on the forget set.

Kurmanji, Triantafillou, Hayes and Triantafillou, "Towards unbounded machine unlearning", NeurIPS 2023, arXiv
2302.09880, equation 3 and algorithm 1: passes alternate between max KL(teacher ‖ student) on the forget set and
min γ L + α KL(teacher ‖ student) on the remaining images; the last passes minimise alone.
"""

from __future__ import annotations

import copy
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from snellen.methods.forgetting.forget_split import ForgetSplit
from snellen.methods.forgetting.forgetter import Forgetting, TunedForgetter
from snellen.models.classifiers.trainable import PreparedNetwork
from snellen.training.batches import Batch
from snellen.training.objectives import cross_entropy


class Scrub(TunedForgetter):
    """Move away from the network as it was on the forget set, and stay with it on the remaining images (SCRUB).

    Momentum begins anew at each pass; the published code keeps one optimizer for both kinds of pass.

    >>> Scrub().obedience, Scrub().ascents
    (0.001, 5)
    """

    name: ClassVar[str] = "scrub"

    learning_rate: float = Field(1e-3, gt=0, description="of SGD; it diverges at rates that suit other methods")
    ascents: int = Field(5, ge=1, description="first passes that begin with one over the forget set")
    label_weight: float = Field(0.99, ge=0, description="weight of the labels on the remaining images (γ)")
    obedience: float = Field(1e-3, ge=0, description="weight of the teacher on the remaining images (α)")
    temperature: float = Field(4.0, gt=0, description="of both softmaxes (T)")

    def forgotten(self, network: PreparedNetwork, split: ForgetSplit, call: Forgetting) -> PreparedNetwork:
        """Alternate, then minimise."""
        teacher = copy.deepcopy(network).eval().requires_grad_(False)

        def divergence(scores: Tensor, batch: Batch) -> Tensor:
            with torch.no_grad():
                taught = teacher.to(batch.images.device)(batch.images)
            return softened_divergence(taught, scores, self.temperature)

        def away(model: nn.Module, batch: Batch) -> Tensor:
            return -divergence(model(batch.images), batch)

        def near(model: nn.Module, batch: Batch) -> Tensor:
            scores = model(batch.images)
            labels = cross_entropy(scores, batch.targets)
            return self.label_weight * labels + self.obedience * divergence(scores, batch)

        for number in range(1, self.epochs + 1):
            if number <= self.ascents:
                self.trained_on(network, split.forgotten, call, away, epochs=1, part=f"ascent {number}")
            self.trained_on(network, split.remaining, call, near, epochs=1, part=f"descent {number}")
        return network


def softened_divergence(taught: Tensor, scores: Tensor, temperature: float) -> Tensor:
    """T² KL(softmax(taught / T) ‖ softmax(scores / T)) of each image, nats, (n,).

    >>> same = torch.tensor([[1.0, 0.0]])
    >>> softened_divergence(same, same, 4.0).item()
    0.0
    """
    wanted, found = (taught / temperature).log_softmax(1), (scores / temperature).log_softmax(1)
    return temperature**2 * (wanted.exp() * (wanted - found)).sum(1)
