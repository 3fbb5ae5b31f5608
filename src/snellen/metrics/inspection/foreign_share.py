"""How many images of a set lie farther from known images than these lie from each other."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from snellen.metrics.clustered import clustered_mean
from snellen.metrics.inspection.clustering import principal_axes
from snellen.metrics.units import dense_codes

#: Share of the known images that count as far.
FAR = 0.05

#: Principal axes of the features, and images of each set that are compared.
AXES, MOST = 16, 4_000


@dataclass(frozen=True, eq=False)
class ForeignShare:
    """Share of new images that no known image is like, beyond what is usual.

    Attributes:
        excess: share of the new images that are far, less that of known images of the same classes.
        low: one-sided 97.5 % lower bound.
        farthest: (k,), positions among the new images that were compared, farthest first.
    """

    excess: float
    low: float
    farthest: NDArray[np.int64]


def foreign_share(
    known: NDArray[np.floating],
    new: NDArray[np.floating],
    weights: NDArray[np.float64],
    units: NDArray[np.int64] | None = None,
    *,
    known_units: NDArray[np.int64] | None = None,
    seed: int = 0,
) -> ForeignShare:
    """Compare distances to the nearest known image of another unit, in whitened principal axes of the known ones.

    An image is far when its distance exceeds that of 95 % of the known images. Weights make the known images the mix of
    classes that the new ones are, so that a rare class which became common is not foreign for its rarity.

    >>> rng = np.random.default_rng(0)
    >>> known = rng.normal(size=(400, 8))
    >>> new = np.concatenate([rng.normal(size=(150, 8)), rng.normal(size=(50, 8)) + 6])
    >>> found = foreign_share(known, new, np.ones(400))
    >>> round(found.excess, 1), found.low > 0.15
    (0.2, True)

    Args:
        known: (n, d) features. new: (m, d). weights: (n,), of the known images, not negative.
        units: (m,), unit of each new image. known_units: (n,). seed: of the images that are compared.
    """
    rng = np.random.default_rng(seed)
    ours, theirs = (np.sort(rng.permutation(len(one))[:MOST]) for one in (known, new))
    codes = dense_codes(None if known_units is None else known_units[ours], len(ours))
    first, second = known[ours].astype(np.float64), new[theirs].astype(np.float64)
    mean = first.mean(0)
    axes, variances = principal_axes(first - mean, most=min(AXES, first.shape[1]), rng=rng)
    scale = axes / np.sqrt(np.maximum(variances, 1e-12))
    points, others = (first - mean) @ scale, (second - mean) @ scale
    usual = _nearest(points, points, codes, codes)
    far = _quantile(usual, weights[ours], 1 - FAR)
    distances = _nearest(others, points)
    is_far = (distances > far).astype(np.float64)
    found = clustered_mean(is_far, None if units is None else units[theirs], pseudo_units=1.0)
    return ForeignShare(
        float(is_far.mean()) - FAR, found.interval(0.95).low - FAR, theirs[np.argsort(-distances, kind="stable")[:9]]
    )


def _nearest(
    points: NDArray[np.float64],
    others: NDArray[np.float64],
    units: NDArray[np.int64] | None = None,
    other_units: NDArray[np.int64] | None = None,
) -> NDArray[np.float64]:
    """Distance of each point to the nearest other of another unit, (n,)."""
    found = np.empty(len(points))
    squares = (others**2).sum(1)
    for start in range(0, len(points), 500):
        some = slice(start, start + 500)
        distances = (points[some] ** 2).sum(1)[:, None] + squares - 2 * points[some] @ others.T
        if units is not None and other_units is not None:
            distances[units[some, None] == other_units] = np.inf
        found[some] = np.sqrt(np.maximum(distances.min(1), 0))
    return found


def _quantile(values: NDArray[np.float64], weights: NDArray[np.float64], share: float) -> float:
    order = np.argsort(values)
    below = np.cumsum(weights[order])
    if below[-1] <= 0:
        return float(np.quantile(values, share))
    return float(values[order][min(np.searchsorted(below, share * below[-1]), len(values) - 1)])
