"""Which labels an instance may have, from nothing but the label of its bag.

Qu, Ma, Luo, Guo, Wang and Song, "Rethinking multiple instance learning for whole slide image classification: a good
instance classifier is all you need" (INS), IEEE TCSVT 2024, arXiv 2307.02249. Class 0 is negative, class 1 positive.
Every instance of a negative bag is negative; one of a positive bag may be either.
"""

from __future__ import annotations

import torch
from torch import Tensor


def candidates_of(bag_labels: Tensor) -> Tensor:
    """Candidate sets S of instances: bool (n, 2).

    >>> candidates_of(torch.tensor([0, 1])).tolist()
    [[True, False], [True, True]]

    Args:
        bag_labels: label of the bag that each instance is in, 0 or 1, int64 (n,).
    """
    return torch.stack([torch.ones_like(bag_labels, dtype=torch.bool), bag_labels == 1], 1)


def initial_targets(candidates: Tensor) -> Tensor:
    """Targets before anything is learnt, float32 (n, 2): even over the candidate set.

    >>> initial_targets(candidates_of(torch.tensor([0, 1]))).tolist()
    [[1.0, 0.0], [0.5, 0.5]]
    """
    return candidates.float() / candidates.sum(1, keepdim=True)


def masked_scores(logits: Tensor, candidates: Tensor) -> Tensor:
    """Probabilities of the candidates, 0 for other classes: softmax(o) ⊙ S, (n, 2), not normalised again."""
    return logits.softmax(1) * candidates


def pseudo_classes(scores: Tensor) -> Tensor:
    """The likeliest candidate of each instance, int64 (n,); 0 in a negative bag for any scores."""
    return scores.argmax(1)
