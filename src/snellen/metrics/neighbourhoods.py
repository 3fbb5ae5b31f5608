"""Neighbourhoods of features: the ball around each that reaches its k-th nearest other one, and what lies in it."""

from __future__ import annotations

import torch
from torch import Tensor

from snellen.core.errors import InputError

#: Rows whose distances to all others are taken together.
TOGETHER = 1024


def check_features(first: Tensor, second: Tensor) -> None:
    """Refuse what are not two sets of finite features of one width.

    Raises:
        InputError: another shape, different widths, no row, or numbers that are not finite.
    """
    if first.ndim != 2 or second.ndim != 2 or first.shape[1] != second.shape[1] or not (len(first) and len(second)):
        raise InputError(
            f"real and generated features are (n, d) and (m, d); got {tuple(first.shape)} and {tuple(second.shape)}"
        )
    if not (bool(first.isfinite().all()) and bool(second.isfinite().all())):
        raise InputError("features must be finite to have neighbours")


def radii(features: Tensor, neighbours: int) -> Tensor:
    """Distance of each row (n, d) to its k-th nearest other row, float64 (n,).

    >>> radii(torch.tensor([[0.0], [1.0], [3.0]]), 1).tolist()
    [1.0, 1.0, 2.0]

    Raises:
        InputError: no such neighbour.
    """
    if not 1 <= neighbours < len(features):
        raise InputError(f"neighbours must be from 1 to {len(features) - 1}, fewer than the images; got {neighbours}")
    # The nearest row is the row itself.
    found = [distances(part, features).kthvalue(neighbours + 1, dim=1).values for part in features.split(TOGETHER)]
    return torch.cat(found)


def in_some_neighbourhood(points: Tensor, centres: Tensor, reach: Tensor) -> Tensor:
    """Whether each point lies in the neighbourhood of any centre, bool (m,).

    Args:
        points: (m, d).
        centres: (n, d).
        reach: radius of each centre, (n,).
    """
    return torch.cat([(distances(part, centres) <= reach).any(1) for part in points.split(TOGETHER)])


def distances(first: Tensor, second: Tensor) -> Tensor:
    """Euclidean distances, float64 (n, m), as sums of squared differences.

    By products of matrices they would be faster, and wrong for features that lie near each other and far from zero.
    """
    return torch.cdist(first.double(), second.double(), compute_mode="donot_use_mm_for_euclid_dist")
