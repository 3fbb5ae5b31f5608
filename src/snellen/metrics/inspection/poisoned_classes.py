"""Signs that a class of a training set is poisoned, in the features of the model that was trained on it.

Two published detectors examine the features of one class at a time:

- spectral signatures (Tran, Li and Madry, NeurIPS 2018, arXiv 1811.00636): the score of an image is the squared
  projection of its centred features on their top right singular vector;
- activation clustering (Chen et al. 2018, arXiv 1811.03728): two clusters in few dimensions, judged by their relative
  size and by the silhouette (Rousseeuw 1987).

We add three steps. Features are first whitened with the covariance within all *other* classes, so that what varies in
every class (size, light) does not hide what only one class has; this is in the spirit of Hayase et al. 2021, arXiv
2104.11315. A held-out test checks whether the two clusters are there at all. And a class must stand out from the
others.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from snellen.core.errors import InputError
from snellen.metrics.incomplete_beta import regularised_incomplete_beta
from snellen.metrics.inspection.clustering import k_means, nearest_centre, principal_axes
from snellen.metrics.inspection.outliers import robust_z

#: Fewest images of a class that is judged.
FEWEST = 40

#: From so many judged classes on, a class is compared with the others; below, its silhouette with a constant.
FEWEST_CLASSES = 8

#: Silhouette from which a structure is called reasonable (Kaufman and Rousseeuw 1990).
REASONABLE = 0.5

#: Robust z of a silhouette from which a class stands out.
OUTLIER = 5.0

#: Smallest spread of silhouettes among classes: classes that are all alike make no outlier of a trifle.
SPREAD = 0.02

#: Added to the variance on every axis before whitening, as a share of the mean variance.
RIDGE = 0.01

#: Starts of k-means (the tightest counts), and images from which a silhouette is taken at most.
STARTS, SILHOUETTE_IMAGES = 4, 2000

#: From this ratio on, the larger cluster is suspected, because it varies so much more along the directions of others.
MIXED = 1.5

#: How often a class is divided into halves: one division alone makes the p value a matter of luck.
DIVISIONS = 5

#: Where the test counts, from the middle of the large cluster (0) to that of the small one (1): both, and between.
LARGE, BETWEEN, SMALL = (-0.2, 0.3), (0.3, 0.7), (0.7, 1.2)


@dataclass(frozen=True, eq=False)
class PoisonedClass:
    """What is known of one class of n images.

    Attributes:
        rows: int64 (n,), positions of its images.
        scores: float64 (n,), from 0 on: spectral signature of each image.
        suspects: bool (n,), the cluster that would be the poison: the smaller one, or the larger one where its images
            vary :data:`MIXED` times as much along the directions that separate other classes, as poison that was taken
            from several classes does.
        share: of the suspects in the class.
        silhouette: of the two clusters, in [−1, 1].
        variance: on the top axis, in units of that of other classes; about 1 where nothing is special.
        mixture: by how much the suspects vary more along the directions of other classes than the rest, a ratio.
        p_value: of the class having one mode only, see :func:`two_modes_p_value`.
        z: robust z of the silhouette among the judged classes; None where they are fewer than :data:`FEWEST_CLASSES`.
    """

    rows: NDArray[np.int64]
    scores: NDArray[np.float64]
    suspects: NDArray[np.bool_]
    share: float
    silhouette: float
    variance: float
    mixture: float
    p_value: float
    z: float | None

    def stands_out(self, outlier: float = OUTLIER) -> bool:
        """Whether its silhouette does among the classes, or, where these are few, by itself."""
        return self.silhouette >= REASONABLE if self.z is None else self.z >= outlier

    def ranked(self) -> NDArray[np.int64]:
        """Positions of the suspects, the largest score first: int64 (m,)."""
        order = np.argsort(-self.scores, kind="stable")
        return self.rows[order[self.suspects[order]]]


def poisoned_classes(
    features: NDArray[np.floating],
    labels: NDArray[np.integer],
    *,
    rng: np.random.Generator,
    whiten: bool = True,
    axes: int = 3,
) -> dict[int, PoisonedClass]:
    """Inspect each class that has at least :data:`FEWEST` images.

    >>> draw = np.random.default_rng(0)
    >>> labels = np.repeat(np.arange(8), 100)
    >>> features = draw.normal(size=(800, 9)) + 9 * np.eye(8, 9)[labels]
    >>> features[:20, 8] += 12
    >>> found = poisoned_classes(features, labels, rng=draw)
    >>> reported(found, alpha=0.05, outlier=5.0), int(found[0].ranked().max())
    ((0,), 19)

    Args:
        features: (n, d), finite.
        labels: (n,), −1 where unknown; such images are left out.
        rng: divides classes into halves and starts clusters.
        whiten: divide by the spread within all other classes first; False gives the published detectors.
        axes: dimensions in which clusters are searched.

    Raises:
        InputError: features and labels that do not fit, or features that are not finite.
    """
    values, codes = np.asarray(features, dtype=np.float64), np.asarray(labels)
    if values.ndim != 2 or codes.shape != values.shape[:1] or not np.isfinite(values).all():
        raise InputError(f"expected finite features (n, d) and labels (n,), got {values.shape} and {codes.shape}")
    members = {int(one): np.flatnonzero(codes == one) for one in np.unique(codes[codes >= 0])}
    means = {one: values[rows].mean(0) for one, rows in members.items()}
    scatters = {one: _scatter(values[rows] - means[one]) for one, rows in members.items()}
    whole, count = sum(scatters.values(), np.zeros((values.shape[1],) * 2)), sum(map(len, members.values()))
    judged = {}
    for one, rows in members.items():
        if len(rows) < FEWEST:
            continue
        others = (whole - scatters[one]) / max(count - len(rows), 1)
        change = _whitening(others) if whiten else np.eye(values.shape[1])
        away = np.array([means[other] - means[one] for other in means if other != one]).reshape(-1, values.shape[1])
        judged[one] = _inspect(rows, (values[rows] - means[one]) @ change, away @ change, axes, rng)
    return _compared(judged)


def reported(found: Mapping[int, PoisonedClass], *, alpha: float, outlier: float) -> tuple[int, ...]:
    """Classes that have two modes and stand out.

    If no class had two modes, one would be reported in at most ``alpha`` of all sets (Bonferroni). Natural kinds within
    a class are two modes too: they are kept back only as far as other classes show kinds that are as distinct.

    Args:
        found: of :func:`poisoned_classes`.
        alpha: in (0, 1).
        outlier: smallest robust z of a silhouette that stands out.
    """
    level = alpha / max(len(found), 1)
    return tuple(one for one, seen in found.items() if seen.p_value <= level and seen.stands_out(outlier))


def two_modes_p_value(points: NDArray[np.float64], *, rng: np.random.Generator, axes: int = 3) -> float:
    """P value of "along no direction are there two modes", from halves of a class: points (n, d), n ≥ 4.

    Two clusters are fitted to one half, and the line through them. The other half is projected on it, and counted near
    either cluster and between them. A density with one mode is between them at least as high as near one of them,
    for any shape: so the count between, given that count, is binomial with at least the share of its width. Both counts
    must be too small: the larger p value counts.

    This is done with both halves of five random divisions. Twice the fifth smallest of the ten p values is a p value
    again, however they depend on each other (Rüger 1978).

    >>> draw = np.random.default_rng(0)
    >>> points = draw.normal(size=(200, 2))
    >>> before = two_modes_p_value(points, rng=draw)
    >>> points[:50, 0] += 9
    >>> before > 0.05, two_modes_p_value(points, rng=draw) < 1e-4
    (True, True)
    """
    chances = list[float]()
    for _ in range(DIVISIONS):
        order = rng.permutation(len(points))
        first, second = np.sort(order[::2]), np.sort(order[1::2])
        chances += [_gap(points[a], points[b], axes, rng) for a, b in ((first, second), (second, first))]
    return min(1.0, 2 * sorted(chances)[DIVISIONS - 1])


def silhouette(points: NDArray[np.float64], small: NDArray[np.bool_]) -> float:
    """Mean silhouette of two clusters (Rousseeuw 1987), in [−1, 1]; 0 where one is empty: points (n, r), n bools.

    >>> silhouette(np.array([[0.0], [0.0], [1.0], [1.0]]), np.array([False, False, True, True]))
    1.0
    """
    if small.all() or not small.any():
        return 0.0
    total = 0.0
    squares, sizes = (points**2).sum(1), np.array([(~small).sum(), small.sum()])
    for start in range(0, len(points), 500):
        part, its = points[start : start + 500], small[start : start + 500].astype(int)
        apart = np.sqrt(np.maximum(squares[start : start + 500, None] - 2 * part @ points.T + squares, 0))
        sums = np.stack([apart[:, ~small].sum(1), apart[:, small].sum(1)], 1)
        row = np.arange(len(part))
        inside, outside = sums[row, its] / np.maximum(sizes[its] - 1, 1), sums[row, 1 - its] / sizes[1 - its]
        most = np.maximum(inside, outside)
        # An image that is alone in its cluster has 0 by definition.
        alike = np.where((sizes[its] > 1) & (most > 0), (outside - inside) / np.where(most > 0, most, 1), 0.0)
        total += float(alike.sum())
    return total / len(points)


def _scatter(centred: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(centred.T @ centred)


def _whitening(covariance: NDArray[np.float64]) -> NDArray[np.float64]:
    """(d, d) by which centred features are multiplied, so that this covariance becomes the identity."""
    mean = float(np.trace(covariance)) / len(covariance)
    if mean <= 0:
        return np.eye(len(covariance))
    values, vectors = np.linalg.eigh(covariance + RIDGE * mean * np.eye(len(covariance)))
    return np.asarray(vectors / np.sqrt(values))


def _inspect(
    rows: NDArray[np.int64],
    points: NDArray[np.float64],
    away: NDArray[np.float64],
    axes: int,
    rng: np.random.Generator,
) -> PoisonedClass:
    """One class: centred points (n, d), and means of the other classes, seen from its own (k − 1, d)."""
    directions, variances = principal_axes(points, most=axes, rng=rng)
    if not len(variances):
        nothing = np.zeros(len(rows))
        return PoisonedClass(rows, nothing, nothing > 0, 0.0, 0.0, 0.0, 1.0, 1.0, None)
    seen = points @ directions
    suspects = _two_clusters(seen, rng)[1]
    mixture = _mixture(points, suspects, away)
    if mixture * MIXED < 1:
        suspects, mixture = ~suspects, 1 / mixture
    few = rng.permutation(len(rows))[:SILHOUETTE_IMAGES]
    return PoisonedClass(
        rows=rows,
        scores=seen[:, 0] ** 2,
        suspects=suspects,
        share=float(suspects.mean()),
        silhouette=silhouette(seen[few], suspects[few]),
        variance=float(variances[0]),
        mixture=mixture,
        p_value=two_modes_p_value(points, rng=rng, axes=axes),
        z=None,
    )


def _two_clusters(
    points: NDArray[np.float64], rng: np.random.Generator
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Centres (2, r) of the large and the small cluster, and who is in the small one: (n,)."""
    best, least = np.repeat(points.mean(0)[None], 2, 0), np.inf
    for _ in range(STARTS):
        centres = k_means(points, 2, rng=rng)
        if len(centres) < 2:
            continue
        loss = float(((points - centres[nearest_centre(points, centres)]) ** 2).sum())
        # A trifle less is the same clusters in another order.
        if loss < least * (1 - 1e-9):
            best, least = centres, loss
    small = nearest_centre(points, best) == 1
    return (best[::-1], ~small) if small.sum() * 2 > len(small) else (best, small)


def _mixture(points: NDArray[np.float64], suspects: NDArray[np.bool_], away: NDArray[np.float64]) -> float:
    """Variance of the suspects over that of the rest, along the directions that separate other classes."""
    if min(suspects.sum(), (~suspects).sum()) < 2 or len(away) < 2:
        return 1.0
    _, sizes, directions = np.linalg.svd(away - away.mean(0), full_matrices=False)
    along = points @ directions[sizes > 1e-9 * max(float(sizes[0]), 1e-300)].T
    inside, outside = (float(along[side].var(0).sum()) for side in (suspects, ~suspects))
    return inside / outside if inside > 0 and outside > 0 else 1.0


def _gap(fitted: NDArray[np.float64], counted: NDArray[np.float64], axes: int, rng: np.random.Generator) -> float:
    centre = fitted.mean(0)
    directions, variances = principal_axes(fitted - centre, most=axes, rng=rng)
    if not len(variances):
        return 1.0
    seen = (fitted - centre) @ directions
    (large, small), members = _two_clusters(seen, rng)
    line = small - large
    length = float(np.linalg.norm(line))
    if length <= 0:
        return 1.0
    line = line / length
    start, end = (float(np.median(seen[side] @ line)) for side in (~members, members))
    if end <= start:
        return 1.0
    places = ((counted - centre) @ directions @ line - start) / (end - start)
    there, between, here = (int(((places >= low) & (places < high)).sum()) for low, high in (LARGE, BETWEEN, SMALL))
    return max(_at_most(between, there, LARGE), _at_most(between, here, SMALL))


def _at_most(between: int, beside: int, near: tuple[float, float]) -> float:
    """Chance of so few between, of both, if the density between is as high as near a cluster."""
    width, wide = BETWEEN[1] - BETWEEN[0], near[1] - near[0]
    if not beside:
        return 1.0
    # P(X ≤ m) of m + b trials with chance p is I(1 − p; b, m + 1).
    return regularised_incomplete_beta(wide / (width + wide), beside, between + 1)


def _compared(judged: Mapping[int, PoisonedClass]) -> dict[int, PoisonedClass]:
    if len(judged) < FEWEST_CLASSES:
        return dict(judged)
    spreads = robust_z(np.array([one.silhouette for one in judged.values()]), smallest_scale=SPREAD)
    return {
        one: PoisonedClass(**{**vars(seen), "z": float(z)})
        for (one, seen), z in zip(judged.items(), spreads, strict=True)
    }
