"""Contrast between projected instances: with one's own other view, or with all of the same pseudo class."""

from __future__ import annotations

import torch
from torch import Tensor


def info_nce(queries: Tensor, keys: Tensor, queue: Tensor, *, temperature: float) -> Tensor:
    """Loss of each query against its own key among the keys of the queue, (n,), in nats (MoCo, He et al. 2020).

    Args:
        queries: q, (n, p), of length 1.
        keys: of the other view of the same instances, (n, p).
        queue: keys of other instances, (m, p); none gives a loss of 0.
        temperature: τ.
    """
    own = (queries * keys).sum(1, keepdim=True)
    logits = torch.cat([own, queries @ queue.T], 1) / temperature
    return logits.logsumexp(1) - logits[:, 0]


def weakly_supervised_contrast(
    queries: Tensor, others: Tensor, classes: Tensor, other_classes: Tensor, *, temperature: float
) -> Tensor:
    """Loss of each query against all of its pseudo class, (n,), in nats.

    The pool is [queries; others]. Of it, a query is compared with all but itself:
    L(q_i) = −1/|P_i| Σ_{j ∈ P_i} log( exp(q_i·z_j / τ) / Σ_{j' ≠ i} exp(q_i·z_j' / τ) ), P_i those of its class.

    Args:
        queries: q, (n, p), of length 1.
        others: keys of the other views, and those of the queue, (m, p).
        classes: pseudo classes of the queries, int64 (n,).
        other_classes: of the others, int64 (m,); a query whose class no other has loses nothing.
        temperature: τ.
    """
    pool, pool_classes = torch.cat([queries, others]), torch.cat([classes, other_classes])
    itself = torch.zeros(len(queries), len(pool), dtype=torch.bool, device=pool.device)
    itself.fill_diagonal_(True)
    logits = (queries @ pool.T / temperature).masked_fill(itself, -torch.inf)
    alike = (classes[:, None] == pool_classes) & ~itself
    log_shares = logits - logits.logsumexp(1, keepdim=True)
    return -log_shares.masked_fill(~alike, 0.0).sum(1) / alike.sum(1).clamp(min=1)
