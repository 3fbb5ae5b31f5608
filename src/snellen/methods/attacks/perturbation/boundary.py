"""Walking to the decision boundary between a clean image and an adversarial one, by decisions alone."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

#: (candidates (m, 3, h, w), rows of the walk (m,)) → which meet the criterion: bool (m,).
Decide = Callable[[Tensor, Tensor], Tensor]


def blend(clean: Tensor, adversarial: Tensor, amount: Tensor, *, norm: str) -> Tensor:
    """Images between a clean and an adversarial one: (n, 3, h, w), (n, 3, h, w), (n,) → (n, 3, h, w).

    ``l2``: amount is the share of the way, in [0, 1]. ``linf``: amount is the largest allowed change.

    >>> clean, adversarial = torch.zeros(1, 1, 1, 2), torch.tensor([[[[0.25, 1.0]]]])
    >>> blend(clean, adversarial, torch.tensor([0.5]), norm="l2").flatten().tolist()
    [0.125, 0.5]
    >>> blend(clean, adversarial, torch.tensor([0.5]), norm="linf").flatten().tolist()
    [0.25, 0.5]
    """
    size = amount.to(clean.dtype).view(-1, 1, 1, 1)
    change = adversarial - clean
    shrunk = change * size if norm == "l2" else torch.maximum(torch.minimum(change, size), -size)
    return (clean + shrunk).clamp(0, 1)


def bisect(
    clean: Tensor, adversarial: Tensor, decide: Decide, *, norm: str, largest: Tensor, tolerance: Tensor
) -> Tensor:
    """Bring adversarial images to the boundary (Chen et al. 2020, algorithm 1); the results are adversarial.

    Args:
        clean: (n, 3, h, w).
        adversarial: (n, 3, h, w), all meeting the criterion.
        decide: queries the classifier, once a candidate; an image leaves when its interval is below its tolerance.
        norm: ``l2`` or ``linf``, see :func:`blend`.
        largest: amount that gives ``adversarial`` itself: (n,).
        tolerance: on the amount, above 0: (n,).
    """
    low, high = torch.zeros_like(largest), largest.clone()
    best = adversarial.clone()
    rows = ((high - low) > tolerance).nonzero().flatten()
    while len(rows):
        middle = (low[rows] + high[rows]) / 2
        candidates = blend(clean[rows], adversarial[rows], middle, norm=norm)
        met = decide(candidates, rows)
        high[rows], low[rows] = torch.where(met, middle, high[rows]), torch.where(met, low[rows], middle)
        best[rows[met]] = candidates[met]
        rows = rows[(high[rows] - low[rows]) > tolerance[rows]]
    return best
