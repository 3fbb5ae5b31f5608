"""How near two different images of a set come by chance: a limit for each image, from the set itself.

Thumbnails of trousers lie nearer together than photographs of anything, so one distance for all sets cannot tell a copy
from a look-alike. The share of a set within distance r of an image follows, for small r, a power of r whose exponent is
the local dimension (Levina and Bickel, "Maximum likelihood estimation of intrinsic dimension", NIPS 2004). Carried on
to distances at which a set of this size should hold hardly any pair, it gives the limit: a number of false alarms in
the sense of Desolneux, Moisan and Morel, "Meaningful alignments" (IJCV 2000).
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

#: References that each image is compared with.
REFERENCES = 2_000

#: Share of the references whose distances give scale and dimension, and the fewest of them.
NEAR_SHARE, FEWEST_NEAR = 0.025, 10

#: The dimension is kept in this range: few distances estimate it poorly, and too high a one would forgive too much.
DIMENSIONS = (2.0, 12.0)

#: One in so many of the nearest references may be a copy of the image without harm to the estimate.
COPIES_SHARE = 8

#: Rows of distances that are made at a time.
ROWS_AT_ONCE = 2_000


def coincidence_limits(
    vectors: NDArray[np.float32],
    references: NDArray[np.float32],
    *,
    pairs: float,
    same: float,
    false_alarms: float = 1.0,
) -> NDArray[np.float64]:
    """Largest distances that are no coincidence, one for each image: float64 (n,).

    With r the distance to the k-th nearest of R references and m the dimension, the chance that another image lies
    within d is p(d) = (k / R) (d / r)^m; the limit solves pairs · p(d) = false_alarms, and is never above r.

    >>> rng = np.random.default_rng(0)
    >>> cloud = rng.normal(size=(500, 4)).astype(np.float32)
    >>> cloud /= np.linalg.norm(cloud, axis=1, keepdims=True)
    >>> limits = coincidence_limits(cloud, cloud, pairs=500 * 499 / 2, same=1e-3)
    >>> bool(0 < np.median(limits) < 0.05)
    True

    Args:
        vectors: float32 (n, d), rows of length 1.
        references: float32 (R, d), rows of length 1; the images themselves may be among them.
        pairs: how many pairs are looked at in all.
        same: references up to this distance count as the image itself or copies of it, and are left out.
        false_alarms: how many pairs of different images may pass, by expectation.
    """
    count = len(references)
    near = min(max(math.ceil(NEAR_SHARE * count), FEWEST_NEAR), max(count // 2, 1))
    limits = np.zeros(len(vectors))
    if count < 2:
        return limits
    for start in range(0, len(vectors), ROWS_AT_ONCE):
        block = vectors[start : start + ROWS_AT_ONCE]
        distances = chord(block @ references.T)
        distances[distances <= same] = np.inf
        nearest = np.sort(np.partition(distances, near - 1, axis=1)[:, :near], axis=1).astype(np.float64)
        limits[start : start + len(block)] = _solved(nearest, count, false_alarms / max(pairs, 1.0))
    return limits


def without_copies(references: NDArray[np.float32], limit: float) -> NDArray[np.int64]:
    """Positions of references of which none is within the limit of an earlier one: int64 (r,), ascending.

    Twenty frames of one film in a sample would make their neighbourhood look dense, and hide each other.

    >>> without_copies(np.array([[1, 0], [0, 1], [1, 0]], np.float32), 0.1).tolist()
    [0, 1]
    """
    near = chord(references @ references.T) <= limit
    kept = np.ones(len(references), bool)
    for row in range(len(references)):
        if kept[row]:
            kept[row + 1 :] &= ~near[row, row + 1 :]
    return np.flatnonzero(kept)


def chord(cosines: NDArray[np.float32]) -> NDArray[np.float32]:
    """Euclidean distance between vectors of length 1 with these cosines, √(2 − 2 cos), in [0, 2].

    >>> chord(np.array([1, 0, -1], np.float32)).tolist()
    [0.0, 1.4142135381698608, 2.0]
    """
    return np.sqrt(np.maximum(2 - 2 * cosines, 0))


def _solved(nearest: NDArray[np.float64], count: int, chance: float) -> NDArray[np.float64]:
    """Distances of a given chance, from the sorted distances (n, k) to the nearest references."""
    near = nearest.shape[1]
    outer = nearest[:, -1]
    known = np.isfinite(outer)
    limits = np.zeros(len(nearest))
    if near < 3 or not known.any():
        return limits
    # The very nearest may be copies. They count, but not by their distances: these are censored, as those of lifetimes
    # are that end before the first look.
    copies = near // COPIES_SHARE
    steps = np.log(outer[known, None] / nearest[known][:, copies:])
    spread = steps.sum(1) + copies * steps[:, 0]
    dimension = np.clip((near - copies - 2) / np.maximum(spread, 1e-12), *DIMENSIONS)
    limits[known] = outer[known] * np.minimum(chance * count / near, 1) ** (1 / dimension)
    return limits
