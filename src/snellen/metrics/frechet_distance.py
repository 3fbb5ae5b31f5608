"""Fréchet distance between two sets of images, in some space of features.

Both sets are taken for Gaussians (Dowson and Landau 1982; for images Heusel et al. 2017, eq. 6):
|μ₁ − μ₂|² + tr(Σ₁ + Σ₂ − 2 (Σ₁ Σ₂)^½). It depends on the features and, for small sets, on their number: distances are
only comparable for the same features and the same numbers, so a distance between two real sets belongs beside it.
"""

from __future__ import annotations

import torch
from torch import Tensor

from snellen.core.errors import InputError


def frechet_distance(first: Tensor, second: Tensor) -> float:
    """Squared Fréchet distance of two sets of features.

    >>> ones = torch.ones(4, 2)
    >>> spread = torch.tensor([[0.0, 0.0], [2.0, 0.0], [0.0, 2.0], [2.0, 2.0]])
    >>> frechet_distance(spread, spread), frechet_distance(spread, spread + ones)
    (0.0, 2.0)

    Args:
        first: (n, d) with n > 1, finite.
        second: (m, d) with m > 1, finite.

    Raises:
        InputError: fewer than two rows, different widths, or numbers that are not finite.
    """
    if first.ndim != 2 or second.ndim != 2 or first.shape[1] != second.shape[1] or min(len(first), len(second)) < 2:
        raise InputError(
            f"a Fréchet distance takes features (n, d) and (m, d), at least two of each; got {tuple(first.shape)} and "
            f"{tuple(second.shape)}"
        )
    first, second = first.double(), second.double()
    if not (bool(first.isfinite().all()) and bool(second.isfinite().all())):
        raise InputError("a Fréchet distance takes finite features")
    # tr (Σ₁ Σ₂)^½ is the sum of the singular values of A B', where A'A = Σ₁ and B'B = Σ₂: no root of a product of
    # matrices, which is not symmetric, has to be taken.
    centred = [(part - part.mean(0)) / (len(part) - 1) ** 0.5 for part in (first, second)]
    shared = torch.linalg.svdvals(_root(centred[0]) @ _root(centred[1]).T).sum()
    spread = sum(part.square().sum() for part in centred) - 2 * shared
    return max(0.0, float((first.mean(0) - second.mean(0)).square().sum() + spread))


def _root(centred: Tensor) -> Tensor:
    """A matrix A (d, d) with A'A = X'X, from X (n, d)."""
    return torch.linalg.qr(centred, mode="r").R if len(centred) > centred.shape[1] else centred
