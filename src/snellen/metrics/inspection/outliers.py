"""Images unlike all others: distances to nearest neighbours, and which of them are too large for the set."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from snellen.core.errors import InputError
from snellen.core.randomness import derive_seed

#: Up to so many images each is compared with all others, above with a sample of this size.
REFERENCES = 20_000

#: Rows of distances made at a time: about 40 MB of float32 at 20,000 references.
ROWS_AT_ONCE = 500

#: The tail is fitted between these quantiles: up to a twentieth of the set may be outliers without moving it.
TAIL_START, TAIL_END = 0.75, 0.95

#: Fewest images from which a tail can be fitted.
SMALLEST_SET = 40

#: Standard deviation of a normal distribution over its median absolute deviation.
NORMAL_SCALE = 1.4826


@dataclass(frozen=True, eq=False)
class Outliers:
    """Which of n values are too large (or too far from the middle) for the rest.

    Attributes:
        indices: int64 (m,), positions, the most extreme first.
        score: float64 (n,), the values that were judged.
        tail_probability: float64 (n,) in [0, 1], chance of a value at least as extreme under the fitted tail.
        threshold: smallest score that is flagged, infinite when none is.
    """

    indices: NDArray[np.int64]
    score: NDArray[np.float64]
    tail_probability: NDArray[np.float64]
    threshold: float


def neighbour_distances(features: NDArray[np.floating], *, neighbours: int = 10, seed: int = 0) -> NDArray[np.float64]:
    """Mean distance to the nearest neighbours, the image itself left out: float64 (n,), from 0 on.

    The distance is Euclidean, each feature divided by its standard deviation over the set, and divided by √(2d): two
    images drawn at random are about 1 apart. Exact up to 20,000 images, and then independent of their order; above, the
    neighbours are searched in a random sample of 20,000 (float32 products, 500 rows at a time: 40 MB).

    >>> features = np.array([[0, 0], [0, 1], [1, 0], [1, 1], [9, 9]], float)
    >>> int(neighbour_distances(features, neighbours=1).argmax())
    4

    Args:
        features: (n, d), finite, two rows or more.
        neighbours: how many, fewer when there are not as many other images.
        seed: of the sample.

    Raises:
        InputError: features of another shape or not finite, fewer than two images, or no neighbours requested.
    """
    vectors = _standardised(features)
    if neighbours < 1:
        raise InputError(f"at least one neighbour is needed, got {neighbours}")
    chosen = np.arange(len(vectors))
    if len(chosen) > REFERENCES:
        rng = np.random.default_rng(derive_seed(seed, "outlier references"))
        chosen = np.sort(rng.choice(len(chosen), REFERENCES, replace=False))
    references, count = vectors[chosen], min(neighbours, len(chosen) - 1)
    squares = (references**2).sum(1)
    place = np.full(len(vectors), -1)
    place[chosen] = np.arange(len(chosen))
    means = np.empty(len(vectors))
    for start in range(0, len(vectors), ROWS_AT_ONCE):
        block = vectors[start : start + ROWS_AT_ONCE]
        # Without the square of the row itself, which changes no order.
        partial = squares - 2 * (block @ references.T)
        own = place[start : start + len(block)]
        partial[np.flatnonzero(own >= 0), own[own >= 0]] = np.inf
        nearest = np.sort(np.partition(partial, count - 1, axis=1)[:, :count], axis=1).astype(np.float64)
        whole = nearest + (block.astype(np.float64) ** 2).sum(1, keepdims=True)
        means[start : start + len(block)] = np.sqrt(np.maximum(whole, 0)).mean(1)
    return means


def _standardised(features: NDArray[np.floating]) -> NDArray[np.float32]:
    """Features less their mean, over their deviation and √(2d): float32; those that do not vary become 0."""
    values = np.asarray(features, dtype=np.float64)
    if values.ndim != 2 or len(values) < 2 or not values.shape[1] or not np.isfinite(values).all():
        raise InputError(f"expected finite features (n, d) of two images or more, got {values.shape}")
    values = values - values.mean(0)
    deviation = np.sqrt((values**2).mean(0))
    # What a sum of equal numbers leaves over is no deviation.
    varies = deviation > 1e-9 * np.maximum(np.abs(values).max(0), 1e-300)
    return (values / np.where(varies, deviation * math.sqrt(2 * values.shape[1]), np.inf)).astype(np.float32)


def feature_outliers(
    features: NDArray[np.floating], *, neighbours: int = 10, share: float = 0.005, seed: int = 0
) -> Outliers:
    """Flag images whose features lie far from all others.

    Scores are those of :func:`neighbour_distances`; an image is flagged if the tail fitted to their logarithms (see
    :func:`tail_probabilities`) gives its score a chance of at most ``share``. The tail of the distances is thus that of
    a Pareto law, heavier than those of most features, so a clean set has fewer flagged images than ``share``. As many
    outliers that are like each other as there are neighbours are neighbours, and are not found.

    >>> rng = np.random.default_rng(0)
    >>> features = rng.normal(size=(200, 3))
    >>> features[3] = [0, 0, 30]
    >>> feature_outliers(features, share=0.001).indices.tolist()
    [3]

    Args:
        features: (n, d), finite, two rows or more.
        neighbours: how many count.
        share: largest share of a clean set that is flagged, in (0, 1).
        seed: of the sample of references in large sets.

    Raises:
        InputError: see :func:`neighbour_distances`; a share out of range.
    """
    score = neighbour_distances(features, neighbours=neighbours, seed=seed)
    return _flagged(score, tail_probabilities(_logarithm(score)), share)


def value_outliers(values: NDArray[np.floating], *, least: float = 5.0, share: float = 0.005) -> Outliers:
    """Flag values of a property far from the median, on either side.

    The score is the robust z without its sign. A value is flagged if its score is at least ``least`` and the tail of
    the scores, fitted as in :func:`feature_outliers`, gives it a chance of at most ``share``.

    >>> values = np.append(np.random.default_rng(0).normal(0.5, 0.1, 500), [9.0, -7.0])
    >>> value_outliers(values).indices.tolist()
    [500, 501]

    Args:
        values: (n,), finite. Take logarithms of sizes and ratios first.
        least: smallest score that can be flagged.
        share: largest share of a clean set that is flagged, in (0, 1).

    Raises:
        InputError: values of another shape or not finite; a share out of range.
    """
    score = np.abs(robust_z(values))
    found = _flagged(score, tail_probabilities(_logarithm(score)), share)
    kept = found.indices[score[found.indices] >= least]
    return Outliers(kept, score, found.tail_probability, float(score[kept].min()) if len(kept) else math.inf)


def robust_z(values: NDArray[np.floating], *, smallest_scale: float = 1e-6) -> NDArray[np.float64]:
    """Distances from the median in units of 1.4826 · median absolute deviation, signed: float64 (n,).

    >>> robust_z(np.array([1.0, 2.0, 3.0, 4.0, 100.0])).round(2).tolist()
    [-1.35, -0.67, 0.0, 0.67, 65.43]

    Args:
        values: (n,), finite.
        smallest_scale: the unit is never smaller: when most values are equal, a last digit is no outlier.

    Raises:
        InputError: values of another shape or not finite.
    """
    numbers = np.asarray(values, dtype=np.float64)
    if numbers.ndim != 1 or not np.isfinite(numbers).all():
        raise InputError(f"expected finite values (n,), got {numbers.shape}")
    if not len(numbers):
        return numbers
    middle = np.median(numbers)
    scale = NORMAL_SCALE * np.median(np.abs(numbers - middle))
    return (numbers - middle) / max(float(scale), smallest_scale)


def tail_probabilities(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Chance of a value at least as large, from an exponential fitted to the upper quarter: float64 (n,).

    With u the 75 % and c the 95 % quantile, the scale is the maximum likelihood estimate from the values above u, those
    above c censored at c: β = Σ (min(x, c) − u) / #{u < x ≤ c}. Beyond u the chance is 0.25 exp(−(x − u) / β); at or
    below u it is 1. Outliers cannot hide each other: beyond c only their number counts.

    >>> chance = tail_probabilities(np.append(np.linspace(0, 1, 100), 10.0))
    >>> bool(chance[-1] < 1e-6), float(chance[0])
    (True, 1.0)

    A set of fewer than 40 values says too little: all chances are 1.
    """
    count = len(values)
    if count < SMALLEST_SET:
        return np.ones(count)
    start, end = np.quantile(values, [TAIL_START, TAIL_END])
    above = values[values > start]
    inside = int((above <= end).sum())
    scale = float((np.minimum(above, end) - start).sum()) / max(inside, 1)
    # Where a quarter of the values are equal the fit is a point without information.
    if scale <= 0:
        return np.ones(count)
    return np.where(values > start, (1 - TAIL_START) * np.exp(-np.maximum(values - start, 0) / scale), 1.0)


def _logarithm(score: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.log(np.maximum(score, 1e-12))


def _flagged(score: NDArray[np.float64], chance: NDArray[np.float64], share: float) -> Outliers:
    if not 0 < share < 1:
        raise InputError(f"a share lies strictly between 0 and 1, got {share}")
    order = np.argsort(-score, kind="stable")
    indices = order[chance[order] <= share].astype(np.int64)
    return Outliers(indices, score, chance, float(score[indices].min()) if len(indices) else math.inf)
