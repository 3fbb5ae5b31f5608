"""A head of two streams: the most positive instance, and attention to what is like it (DSMIL).

Li, Li and Eliceiri, "Dual-stream multiple instance learning network for whole slide image classification with
self-supervised contrastive learning", CVPR 2021, arXiv 2011.08939, equations 2 to 7. Written from the paper.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from snellen.systems.multiple_instance.bag_head import BagHead, BagScores
from snellen.training.objectives import cross_entropy


class DualStreamHead(BagHead):
    """The score of a bag is the mean of two: of its highest instance, and of its instances weighed by likeness to it.

    Likeness is ⟨q_i, q_m⟩ of linear queries, a softmax over the bag. An instance speaks for positive by the difference
    of its two scores in the first stream, which is the paper's instance classifier.

    Args:
        dim: length d of a vector.
        width: of the hidden layer.
        inner: length of a query.
    """

    def __init__(self, dim: int, width: int, inner: int = 128) -> None:
        super().__init__(dim, width)
        self.scores = nn.Linear(width, 2)
        self.query = nn.Linear(width, inner)
        self.value = nn.Linear(width, width)
        self.bag_scores = nn.Linear(width, 2)

    def bags(self, vectors: Tensor, present: Tensor) -> BagScores:
        """Mean of both streams."""
        critical, embedded, positive = self._streams(vectors, present)
        return BagScores((critical + embedded) / 2, positive)

    def losses(self, vectors: Tensor, present: Tensor, labels: Tensor) -> Tensor:
        """Mean of the cross-entropies of both streams: by their mean alone, one could be the reverse of the other."""
        critical, embedded, _ = self._streams(vectors, present)
        return (cross_entropy(critical, labels) + cross_entropy(embedded, labels)) / 2

    def _streams(self, vectors: Tensor, present: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Scores of the critical instances and of the attended bags, each (b, 2), and of all instances, (b, m)."""
        hidden = self.hidden(self.standardise(vectors))
        scores = self.scores(hidden)
        positive = scores[..., 1] - scores[..., 0]
        critical = positive.masked_fill(~present, -torch.inf).argmax(1)
        rows = torch.arange(len(vectors), device=vectors.device)
        queries = self.query(hidden)
        # Divided by the root of their length, as in attention, so that the softmax does not saturate at the start.
        likeness = (queries * queries[rows, critical][:, None]).sum(-1) / queries.shape[-1] ** 0.5
        weights = likeness.masked_fill(~present, -torch.inf).softmax(1)
        embedded = (weights[..., None] * self.value(hidden)).sum(1)
        return scores[rows, critical], self.bag_scores(embedded), positive
