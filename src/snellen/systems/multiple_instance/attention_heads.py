"""Heads that weigh instances by gated attention: ABMIL, and clustering-constrained attention after CLAM.

Ilse, Tomczak and Welling, "Attention-based deep multiple instance learning", ICML 2018, arXiv 1802.04712, equation 9.
Lu, Williamson, Chen, Chen, Barbieri and Mahmood, "Data-efficient and weakly supervised computational pathology on
whole-slide images" (CLAM), Nature Biomedical Engineering 2021, arXiv 2004.09666. Written from the papers.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from snellen.systems.multiple_instance.bag_head import BagHead, BagScores


class GatedAttention(nn.Module):
    """Scores of instances before the softmax: wᵀ (tanh(V h) ⊙ sigmoid(U h)).

    Args:
        width: length of h.
        inner: rows of V and U.
    """

    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.tanh = nn.Linear(width, inner)
        self.gate = nn.Linear(width, inner)
        self.score = nn.Linear(inner, 1)

    def forward(self, hidden: Tensor) -> Tensor:
        """(…, width) → (…)."""
        score: Tensor = self.score(self.tanh(hidden).tanh() * self.gate(hidden).sigmoid())
        return score[..., 0]


class AttentionHead(BagHead):
    """ABMIL: a bag is the attention-weighted mean of its instances.

    An instance speaks for positive by its attention, before the softmax, so that bags can be compared.

    Args:
        dim: length d of a vector.
        width: of the hidden layer.
        inner: of the attention.
    """

    def __init__(self, dim: int, width: int, inner: int = 128) -> None:
        super().__init__(dim, width)
        self.attention = GatedAttention(width, inner)
        self.scores = nn.Linear(width, 2)

    def bags(self, vectors: Tensor, present: Tensor) -> BagScores:
        """Scores of the weighted means."""
        return self._attended(self.hidden(self.standardise(vectors)), present)

    def _attended(self, hidden: Tensor, present: Tensor) -> BagScores:
        attention = self.attention(hidden)
        weights = attention.masked_fill(~present, -torch.inf).softmax(1)
        return BagScores(self.scores((weights[..., None] * hidden).sum(1)), attention)


class ClusteringAttentionHead(AttentionHead):
    """After CLAM with one attention branch: the most and the least attended instances are also separated.

    For the class of the bag, its ``clustered`` most attended instances are evidence and its least attended are none;
    of the other class, the most attended are none. Here by cross-entropy, where the paper has a smooth hinge loss.

    Args:
        dim: length d of a vector.
        width: of the hidden layer.
        inner: of the attention.
        clustered: instances at each end of the order, fewer in bags that are shorter than twice that.
        bag_weight: share of the bag's loss in the whole.
    """

    def __init__(self, dim: int, width: int, inner: int = 128, clustered: int = 8, bag_weight: float = 0.7) -> None:
        super().__init__(dim, width, inner)
        self.clustered, self.bag_weight = clustered, bag_weight
        #: For each class, whether an instance is evidence of it: (…, width) → (…, class, no or yes).
        self.evidence = nn.Linear(width, 4)

    def losses(self, vectors: Tensor, present: Tensor, labels: Tensor) -> Tensor:
        """Weighted sum of the loss of each bag and of the mean loss of its clustered instances."""
        hidden = self.hidden(self.standardise(vectors))
        scored = self._attended(hidden, present)
        of_bags = F.cross_entropy(scored.logits, labels, reduction="none")
        of_instances = [
            self._clustering(hidden[row][present[row]], scored.instances[row][present[row]].detach(), int(labels[row]))
            for row in range(len(labels))
        ]
        return self.bag_weight * of_bags + (1 - self.bag_weight) * torch.stack(of_instances)

    def _clustering(self, hidden: Tensor, attention: Tensor, label: int) -> Tensor:
        """Mean loss of the instances at both ends of a bag, ()."""
        count = max(1, min(self.clustered, len(hidden) // 2))
        order = attention.argsort(descending=True, stable=True)
        most, least = order[:count], order[-count:]
        evidence = self.evidence(hidden).unflatten(-1, (2, 2))
        scores = torch.cat([evidence[most, label], evidence[least, label], evidence[most, 1 - label]])
        targets = torch.zeros(3 * count, dtype=torch.int64, device=hidden.device)
        targets[:count] = 1
        return F.cross_entropy(scores, targets)
