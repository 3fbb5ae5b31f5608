"""Vectors of an encoder → scores of one instance: what every bag head begins with, and what is deployed."""

from __future__ import annotations

import torch
from torch import Tensor, nn

#: Standard deviations below which an entry of the vectors is constant; it is left as it is.
_CONSTANT = 1e-6


class Standardise(nn.Module):
    """Subtract the mean of the training instances and divide by their standard deviation, entry by entry.

    Args:
        dim: length d of a vector.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(dim))
        self.register_buffer("deviation", torch.ones(dim))

    def fit(self, vectors: Tensor) -> None:
        """Take both from vectors (n, d)."""
        deviation = vectors.std(0, correction=0)
        self.mean.copy_(vectors.mean(0))
        self.deviation.copy_(torch.where(deviation > _CONSTANT, deviation, torch.ones_like(deviation)))

    def forward(self, vectors: Tensor) -> Tensor:
        """(…, d) → (…, d)."""
        return (vectors - self.mean) / self.deviation


class InstanceHead(nn.Module):
    """Vectors (n, d) → scores (n, 2) of negative and positive, through one hidden layer.

    Args:
        dim: length d of a vector.
        width: of the hidden layer.
    """

    def __init__(self, dim: int, width: int) -> None:
        super().__init__()
        self.standardise = Standardise(dim)
        self.hidden = nn.Sequential(nn.Linear(dim, width), nn.ReLU())
        self.scores = nn.Linear(width, 2)

    def forward(self, vectors: Tensor) -> Tensor:
        """Scores of each instance."""
        scores: Tensor = self.scores(self.hidden(self.standardise(vectors)))
        return scores
