"""Relabelling: the forget set gets random labels, drawn again at each pass, beside the remaining images.

Golatkar, Achille and Soatto, "Eternal sunshine of the spotless net", CVPR 2020, arXiv 1911.04933, section 5.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from snellen.methods.forgetting.forget_split import ForgetSplit
from snellen.methods.forgetting.forgetter import Forgetting, TunedForgetter
from snellen.models.classifiers.trainable import PreparedNetwork
from snellen.training.batches import Batch
from snellen.training.objectives import cross_entropy


class RandomLabels(TunedForgetter):
    """Train on with all images, where those to forget have random labels (RL).

    A drawn label may be the true one, as published.

    >>> RandomLabels().learning_rate
    0.01
    """

    name: ClassVar[str] = "random_labels"

    def forgotten(self, network: PreparedNetwork, split: ForgetSplit, call: Forgetting) -> PreparedNetwork:
        """Cross-entropy on all images, with drawn labels for the forget set."""

        def objective(model: nn.Module, batch: Batch) -> Tensor:
            scores = model(batch.images)
            return cross_entropy(scores, drawn_labels(batch, split.is_forgotten, scores.shape[1]))

        return self.trained_on(network, split.images, call, objective)


def drawn_labels(batch: Batch, is_forgotten: Tensor, classes: int) -> Tensor:
    """Targets of a batch, int64 (n,): uniform draws for the forget set, the true labels for all others.

    Args:
        batch: its randomness is of one pass and one step, so that labels differ between passes.
        is_forgotten: of all training images, bool.
        classes: number of classes k.
    """
    drawn = batch.rng.integers("random label", (), 0, classes).to(batch.targets.device)
    return torch.where(is_forgotten[batch.positions].to(batch.targets.device), drawn, batch.targets)
