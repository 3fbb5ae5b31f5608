"""Views of frozen features in few dimensions, with or without the directions that separate classes, and k-means in
them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

#: Above this many dimensions the principal axes are found by a randomised method.
EXACT_DIMENSIONS = 512

#: Axes with less than this share of the largest variance carry rounding only.
_SMALLEST_VARIANCE = 1e-6


@dataclass(frozen=True, eq=False)
class FeatureView:
    """A map of features to few coordinates, fitted once and applied to any image.

    With class means, the soft mean of the classes that the coordinates look like is taken away: the posterior of a
    linear discriminant weighs the means. The map sees features only, never the label of the image that it maps.

    Attributes:
        centre: (d,), mean of the features.
        axes: (d, r), scaled principal axes.
        class_means: (k, r), means of the classes in these coordinates; none leaves the coordinates as they are.
        log_priors: (k,), log shares of the classes.
    """

    centre: NDArray[np.float64]
    axes: NDArray[np.float64]
    class_means: NDArray[np.float64]
    log_priors: NDArray[np.float64]

    def __call__(self, features: NDArray[np.float64]) -> NDArray[np.float64]:
        """Map (n, d) to (n, r)."""
        points = (features - self.centre) @ self.axes
        if not len(self.class_means):
            return points
        scores = points @ self.class_means.T - (self.class_means**2).sum(1) / 2 + self.log_priors
        weights = np.exp(scores - scores.max(1, keepdims=True))
        return points - (weights / weights.sum(1, keepdims=True)) @ self.class_means


def plain_view(features: NDArray[np.float64], *, most: int, rng: np.random.Generator) -> FeatureView:
    """Principal axes of the features, in one common scale so that distances keep their proportions.

    >>> points = np.random.default_rng(0).normal(size=(200, 3)) * [9, 1, 0]
    >>> plain_view(points, most=2, rng=np.random.default_rng(0))(points).shape
    (200, 2)

    Args:
        features: (n, d).
        most: largest number of axes r.
        rng: used above :data:`EXACT_DIMENSIONS` only.
    """
    centre = features.mean(0)
    axes, variances = principal_axes(features - centre, most=most, rng=rng)
    scale = np.sqrt(variances.mean()) if len(variances) else 1.0
    return FeatureView(centre, axes / scale, np.zeros((0, axes.shape[1])), np.zeros(0))


def class_free_view(
    features: NDArray[np.float64], labels: NDArray[np.int64], *, most: int, rng: np.random.Generator
) -> FeatureView:
    """Coordinates in which each class has about unit spread on each axis, without the mean of the class.

    What several classes have in common (a mark, a light, a camera) lies in one place here, while in the features it
    makes one small cluster beside each class.

    Args:
        features: (n, d).
        labels: (n,), true classes of the images that fit the view.
        most: largest number of axes r.
        rng: used above :data:`EXACT_DIMENSIONS` only.
    """
    centre = features.mean(0)
    classes, place, counts = np.unique(labels, return_inverse=True, return_counts=True)
    means = one_hot(place, len(classes)) @ features / counts[:, None]
    axes, variances = principal_axes(features - means[place], most=most, rng=rng)
    axes = axes / np.sqrt(variances)
    return FeatureView(centre, axes, (means - centre) @ axes, np.log(counts / len(labels)))


def principal_axes(
    centred: NDArray[np.float64], *, most: int, rng: np.random.Generator
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Directions of largest variance of centred points, and the variances, largest first.

    Up to :data:`EXACT_DIMENSIONS` dimensions by the eigenvectors of the covariance; above, by a randomised range finder
    with three subspace iterations (Halko, Martinsson and Tropp 2011, algorithm 4.4).

    >>> axes, variances = principal_axes(np.diag([2.0, 1.0, 0.0]), most=3, rng=np.random.default_rng(0))
    >>> axes.shape, [round(float(v), 3) for v in variances]
    ((3, 2), [1.333, 0.333])

    Args:
        centred: (n, d).
        most: largest number of axes r.
        rng: used by the randomised method.

    Returns:
        Axes (d, r) of length one and variances (r,), without those that carry rounding only.
    """
    n, dimensions = centred.shape
    if dimensions <= EXACT_DIMENSIONS:
        values, vectors = np.linalg.eigh(centred.T @ centred / n)
        values, vectors = values[::-1][:most], vectors[:, ::-1][:, :most]
    else:
        basis = centred.T @ (centred @ rng.normal(size=(dimensions, most + 16)))
        for _ in range(3):
            basis = centred.T @ (centred @ np.linalg.qr(basis)[0])
        basis = np.linalg.qr(basis)[0]
        projected = centred @ basis
        values, vectors = np.linalg.eigh(projected.T @ projected / n)
        values, vectors = values[::-1][:most], basis @ vectors[:, ::-1][:, :most]
    kept = values > max(_SMALLEST_VARIANCE * float(values.max(initial=0.0)), 1e-300)
    return vectors[:, kept], values[kept]


def k_means(
    points: NDArray[np.float64], clusters: int, *, rng: np.random.Generator, rounds: int = 25
) -> NDArray[np.float64]:
    """Centres of k-means (Lloyd 1982), started far apart (k-means++, Arthur and Vassilvitskii 2007).

    >>> centres = k_means(np.array([[0.0], [0.1], [5.0], [5.1]]), 2, rng=np.random.default_rng(0))
    >>> sorted(round(float(c), 2) for c in centres[:, 0])
    [0.05, 5.05]

    Args:
        points: (n, r), at least one.
        clusters: k; fewer centres come back where there are fewer distinct points.
        rng: chooses the first centres.
        rounds: largest number of Lloyd's rounds.

    Returns:
        (k, r). Memory: n k float64.
    """
    chosen = [points[rng.integers(len(points))]]
    distances = ((points - chosen[0]) ** 2).sum(1)
    while len(chosen) < clusters and distances.sum() > 0:
        chosen.append(points[rng.choice(len(points), p=distances / distances.sum())])
        distances = np.minimum(distances, ((points - chosen[-1]) ** 2).sum(1))
    centres, before = np.stack(chosen), None
    for _ in range(rounds):
        nearest = nearest_centre(points, centres)
        if before is not None and np.array_equal(nearest, before):
            break
        before = nearest
        counts = np.bincount(nearest, minlength=len(centres))
        means = one_hot(nearest, len(centres)) @ points / np.maximum(counts, 1)[:, None]
        centres = np.where(counts[:, None] > 0, means, centres)
    return centres


def nearest_centre(points: NDArray[np.float64], centres: NDArray[np.float64]) -> NDArray[np.int64]:
    """Index of the nearest of the centres (k, r) for each point (n, r): (n,)."""
    return ((centres**2).sum(1) - 2 * points @ centres.T).argmin(1)


def one_hot(codes: NDArray[np.int64], count: int) -> NDArray[np.float64]:
    """Indicator matrix (count, n) of codes (n,) in 0 … count−1."""
    indicators = np.zeros((count, len(codes)))
    indicators[codes, np.arange(len(codes))] = 1
    return indicators
