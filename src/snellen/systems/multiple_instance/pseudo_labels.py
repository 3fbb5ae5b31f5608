"""Pseudo labels: a target for each instance, moved slowly to where the prototypes point, within its candidate set."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from snellen.systems.multiple_instance.candidate_labels import initial_targets


def inertia(epoch: int, epochs: int, *, first: float, last: float) -> float:
    """Share φ of the old target that is kept, linear in the epoch.

    >>> [round(inertia(epoch, 4, first=0.95, last=0.8), 2) for epoch in range(4)]
    [0.95, 0.9, 0.85, 0.8]

    Args:
        epoch: from 0.
        epochs: of the whole course.
        first: φ in the first epoch.
        last: φ in the last one.
    """
    return first + (last - first) * epoch / max(1, epochs - 1)


def moved_targets(targets: Tensor, scores: Tensor, candidates: Tensor, *, inertia: float) -> Tensor:
    """Targets after one look, (n, 2): t ← φ t + (1 − φ) onehot(argmax(p ⊙ S)); certain instances keep theirs.

    Args:
        targets: t, (n, 2), each row a distribution.
        scores: p, of the prototypes, (n, 2).
        candidates: S, bool (n, 2).
        inertia: φ.
    """
    proposed = F.one_hot((scores * candidates).argmax(1), 2).to(targets.dtype)
    moved = inertia * targets + (1 - inertia) * proposed
    certain = candidates.sum(1, keepdim=True) == 1
    return torch.where(certain, initial_targets(candidates).to(moved.dtype), moved)


def with_one_positive(targets: Tensor, of_bag: Tensor, bag_labels: Tensor) -> Tensor:
    """Targets in which each positive bag has an instance that is more positive than not, (n, 2).

    In a positive bag without one, the instance of the highest target becomes certainly positive, the first of equals.

    >>> table = torch.tensor([[0.7, 0.3], [0.9, 0.1], [1.0, 0.0]])
    >>> with_one_positive(table, torch.tensor([0, 0, 1]), torch.tensor([1, 0]))[:, 1].tolist()
    [1.0, 0.10000000149011612, 0.0]

    Args:
        targets: (n, 2).
        of_bag: bag of each instance, int64 (n,).
        bag_labels: of each bag, 0 or 1, int64 (b,).
    """
    highest = highest_positive(targets, of_bag, len(bag_labels))
    lacking = (bag_labels == 1) & (highest <= 0.5)
    rows = torch.arange(len(targets), device=targets.device)
    is_highest = targets[:, 1] == highest[of_bag]
    first = torch.full_like(bag_labels, len(targets)).scatter_reduce(0, of_bag[is_highest], rows[is_highest], "amin")
    changed = targets.clone()
    changed[first[lacking]] = torch.tensor([0.0, 1.0], dtype=targets.dtype, device=targets.device)
    return changed


def highest_positive(targets: Tensor, of_bag: Tensor, bags: int) -> Tensor:
    """Highest target of the positive class in each bag, (b,)."""
    lowest = torch.full((bags,), -torch.inf, dtype=targets.dtype, device=targets.device)
    return lowest.scatter_reduce(0, of_bag, targets[:, 1], "amax")


def target_figures(targets: Tensor, of_bag: Tensor, bag_labels: Tensor) -> dict[str, float]:
    """What shows pseudo labels drifting to all negative, over the positive bags.

    Returns:
        ``positive_share``: instances that are more positive than not; ``bags_with_positive``: share of bags that have
        one; ``highest_target``: mean over the bags of the highest target of the positive class.
    """
    in_positive = bag_labels[of_bag] == 1
    highest = highest_positive(targets, of_bag, len(bag_labels))[bag_labels == 1]
    return {
        "positive_share": float((targets[in_positive, 1] > 0.5).double().mean()),
        "bags_with_positive": float((highest > 0.5).double().mean()),
        "highest_target": float(highest.double().mean()),
    }
