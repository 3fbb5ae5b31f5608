"""The loss of a bag of whose instances no label is known."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def bag_cross_entropy(logits: Tensor, of_bag: Tensor, bag_labels: Tensor) -> Tensor:
    """Cross-entropy of each bag's label under the mean of its instances' probabilities, (b,), in nats.

    Args:
        logits: of the instances, (n, 2).
        of_bag: bag of each, int64 (n,), all of 0 … b − 1.
        bag_labels: 0 or 1, int64 (b,).
    """
    # log(1/n Σ p) of both classes, without leaving logarithms: a bag that is surely wrong has a finite loss.
    logs = logits.log_softmax(1)
    count = len(bag_labels)
    highest = torch.full((count, 2), -torch.inf, dtype=logs.dtype, device=logs.device)
    highest = highest.scatter_reduce(0, of_bag[:, None].expand(-1, 2), logs.detach(), "amax")
    sums = torch.zeros_like(highest).index_add(0, of_bag, (logs - highest[of_bag]).exp())
    sizes = torch.bincount(of_bag, minlength=count)
    means = highest + sums.log() - sizes.log()[:, None]
    return -means.gather(1, bag_labels[:, None])[:, 0]


def published_bag_loss(hidden: Tensor, of_bag: Tensor, bag_labels: Tensor) -> Tensor:
    """What the published code minimises for a bag, (b,): no probability of two classes, and no classifier in it.

    The mean hidden vector goes through a softmax over its entries, and once more through the one of a cross-entropy
    whose classes 0 and 1 are the first two entries.

    Args:
        hidden: f(x) of the instances, (n, width).
        of_bag: bag of each, int64 (n,), all of 0 … b − 1.
        bag_labels: 0 or 1, int64 (b,).
    """
    sums = hidden.new_zeros(len(bag_labels), hidden.shape[1]).index_add(0, of_bag, hidden)
    means = sums / torch.bincount(of_bag, minlength=len(bag_labels))[:, None]
    return F.cross_entropy(means.softmax(1), bag_labels, reduction="none")
