"""The point with the least sum of distances to given points: a centre that a few far points do not move."""

from __future__ import annotations

import torch
from torch import Tensor

from snellen.core.errors import InputError

#: Points nearer than this to the estimate count as this far away, so that no weight is infinite.
_NEAREST = 1e-12


def geometric_median(points: Tensor, *, most_steps: int = 100, tolerance: float = 1e-6) -> Tensor:
    """Weiszfeld's iteration (Tôhoku Mathematical Journal 43, 1937): means weighted by one over the distance.

    >>> geometric_median(torch.tensor([[0.0], [1.0], [100.0]])).round().tolist()
    [1.0]

    Args:
        points: (n, d), finite.
        most_steps: iterations at most.
        tolerance: stop when the sum of distances shrinks by less than this share of itself.

    Returns:
        (d,), of the type of the points; sums are taken in float64.

    Raises:
        InputError: no points, another shape, or values that are not finite.
    """
    if points.ndim != 2 or not len(points):
        raise InputError(f"points are (n, d), at least one; got {tuple(points.shape)}")
    if not bool(torch.isfinite(points).all()):
        raise InputError("a point is not finite; leave it out")
    exact = points.double()
    centre = exact.mean(0)
    before = float("inf")
    for _ in range(most_steps):
        distances = (exact - centre).norm(dim=1)
        now = float(distances.sum())
        if before - now <= tolerance * now:
            break
        before = now
        weights = 1 / distances.clamp_min(_NEAREST)
        centre = (weights[:, None] * exact).sum(0) / weights.sum()
    return centre.to(points.dtype)
