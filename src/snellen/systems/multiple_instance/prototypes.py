"""Prototypes: a moving average of the projected instances of each class, on the unit sphere."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def updated_prototypes(prototypes: Tensor, queries: Tensor, classes: Tensor, *, momentum: float) -> Tensor:
    """Prototypes after a batch, (k, p), each of length 1, or still 0 where its class has never come.

    One instance after the other, μ_c ← γ μ_c + (1 − γ) q_i for c the class of i, and then all are normalised. In closed
    form, for the n_c instances of class c in their order j = 1 … n_c: μ_c ← γ^n_c μ_c + (1 − γ) Σ_j γ^(n_c − j) q_j.

    >>> import torch
    >>> queries = torch.eye(3)[:2]
    >>> updated_prototypes(torch.zeros(2, 3), queries, torch.tensor([1, 1]), momentum=0.5).tolist()[0]
    [0.0, 0.0, 0.0]

    Args:
        prototypes: μ, (k, p); all 0 before the first batch.
        queries: q, (n, p), of length 1.
        classes: pseudo class of each, int64 (n,).
        momentum: γ.
    """
    members = F.one_hot(classes, len(prototypes)).to(queries.dtype)
    # How many instances of the same class come after each one.
    after = (members.flip(0).cumsum(0).flip(0) * members).sum(1) - 1
    weights = (1 - momentum) * momentum**after
    moved = momentum ** members.sum(0)[:, None] * prototypes + members.T @ (weights[:, None] * queries)
    # A prototype of length 0 stays 0: nothing is known of its direction.
    return F.normalize(moved, dim=1)


def filled(prototypes: Tensor) -> bool:
    """Whether instances of every class have come; until then, prototypes cannot be compared."""
    return bool((prototypes.norm(dim=1) > 0).all())


def prototype_scores(queries: Tensor, prototypes: Tensor) -> Tensor:
    """Probability of each class by likeness to its prototype: softmax(q · μᵀ), (n, k)."""
    return (queries @ prototypes.T).softmax(1)
