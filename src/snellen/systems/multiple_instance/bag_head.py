"""What all bag heads have in common, and the two that pool probabilities of instances."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from snellen.models.encoders.head_on_encoder import Standardise


class BagScores(NamedTuple):
    """A head's output for bags.

    Args:
        logits: of each bag, negative and positive, (b, 2).
        instances: how much each instance speaks for positive, in any unit that orders those of all bags, (b, m).
    """

    logits: Tensor
    instances: Tensor


class BagHead(nn.Module, ABC):
    """Bags of vectors → scores of bags and of their instances.

    Bags are padded to one length: ``vectors`` (b, m, d), and ``present`` (b, m) marks the rows that are instances.

    Args:
        dim: length d of a vector.
        width: of the hidden layer, through which each instance goes first.
    """

    def __init__(self, dim: int, width: int) -> None:
        super().__init__()
        self.standardise = Standardise(dim)
        self.hidden = nn.Sequential(nn.Linear(dim, width), nn.ReLU())

    @abstractmethod
    def bags(self, vectors: Tensor, present: Tensor) -> BagScores:
        """Scores of bags, each with at least one instance."""

    def losses(self, vectors: Tensor, present: Tensor, labels: Tensor) -> Tensor:
        """What training minimises for each bag, (b,), in nats: cross-entropy of the bag unless a head says otherwise.

        Args:
            vectors: (b, m, d).
            present: bool (b, m).
            labels: 0 or 1, int64 (b,).
        """
        return F.cross_entropy(self.bags(vectors, present).logits, labels, reduction="none")

    def forward(self, vectors: Tensor) -> Tensor:
        """Scores (n, 2) of single instances (n, d), each as a bag of its own."""
        alone = vectors[:, None]
        return self.bags(alone, torch.ones(alone.shape[:2], dtype=torch.bool, device=alone.device)).logits


class PooledHead(BagHead):
    """The probability of a bag is the mean, or the maximum, of those of its instances (mi-Net; Wang et al. 2018).

    Args:
        dim: length d of a vector.
        width: of the hidden layer.
        pooling: mean or max.
    """

    def __init__(self, dim: int, width: int, pooling: Literal["mean", "max"]) -> None:
        super().__init__(dim, width)
        self.pooling = pooling
        self.scores = nn.Linear(width, 2)

    def bags(self, vectors: Tensor, present: Tensor) -> BagScores:
        """Log-probabilities of bags; instances by the difference of their two scores."""
        scores = self.scores(self.hidden(self.standardise(vectors)))
        positive = scores[..., 1] - scores[..., 0]
        if self.pooling == "max":
            highest = positive.masked_fill(~present, -torch.inf).amax(1)
            return BagScores(torch.stack([F.logsigmoid(-highest), F.logsigmoid(highest)], 1), positive)
        logs = scores.log_softmax(-1).masked_fill(~present[..., None], -torch.inf)
        return BagScores(logs.logsumexp(1) - present.sum(1, keepdim=True).log(), positive)
