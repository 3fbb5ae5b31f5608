"""Regions of feature space that hold many errors: found on some images, applied to any by their features alone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from snellen.metrics.inspection.clustering import FeatureView, class_free_view, k_means, nearest_centre, plain_view

#: Most axes of a view.
AXES = 64

#: A view whitened with fewer images an axis than this would whiten noise.
IMAGES_PER_AXIS = 20

#: Numbers of clusters: slices may be a tenth of all images, or a fortieth.
CLUSTERS = (10, 20, 40)

#: Shares of the images that a region along an error direction may take.
TAIL_SHARES = (0.02, 0.05, 0.1, 0.2)

#: Error directions, each found on the images that earlier ones left.
DIRECTIONS = 4

#: k-means uses no more images than this; all are assigned.
MOST_CLUSTERED = 20_000

#: Two regions that share this part of the smaller one count as one.
_OVERLAP = 0.5


@dataclass(frozen=True, eq=False)
class Cluster:
    """Images nearer to one centre than to the others.

    Attributes:
        view: coordinates.
        centres: (k, r).
        which: index of the centre.
    """

    view: FeatureView
    centres: NDArray[np.float64]
    which: int

    def __call__(self, features: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Whether each image (n, d) belongs: (n,)."""
        return nearest_centre(self.view(features), self.centres) == self.which


@dataclass(frozen=True, eq=False)
class Tail:
    """Images far along a direction and not in the tails taken before.

    Attributes:
        view: coordinates.
        directions: (r, t), the direction last, before it those of earlier tails.
        thresholds: (t,); a tail lies above its threshold.
    """

    view: FeatureView
    directions: NDArray[np.float64]
    thresholds: NDArray[np.float64]

    def __call__(self, features: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Whether each image (n, d) belongs: (n,)."""
        above = self.view(features) @ self.directions > self.thresholds
        return above[:, -1] & ~above[:, :-1].any(1)


Region = Cluster | Tail


def error_regions(
    features: NDArray[np.float64], losses: NDArray[np.float64], labels: NDArray[np.int64], *, most: int, seed: int
) -> list[Region]:
    """Regions with the clearest excess of loss over the rest, without two that hold the same images.

    Two sources, because neither finds all slices: clusters (after George, Sohoni et al. 2020, who cluster the features
    of a class) find what stands apart, at several sizes; error directions (the difference of the loss-weighted means in
    whitened coordinates, which is the linear discriminant of errors) find what is only pulled to one side, as clusters
    of that size would not. The loss guides the search, as in Domino (Eyuboglu et al. 2022) and Spotlight (d'Eon et al.
    2022), but a region is a rule on features: whether another image belongs cannot depend on its loss or its label.

    Args:
        features: (n, d).
        losses: (n,) in [0, 1].
        labels: (n,), true classes.
        most: largest number of regions.
        seed: of the first centres.

    Returns:
        Regions by the size of the excess over its standard error, largest first. Memory: about 2 n (d + 134) float64.
    """
    candidates = list(_candidates(features, losses, labels, np.random.default_rng(seed)))
    if not candidates:
        return []
    inside = np.stack([mask for _, mask in candidates])
    sizes, excess = inside.sum(1), _standardised_excess(inside, losses)
    fits = (sizes >= max(10, len(losses) // 100)) & (sizes <= len(losses) // 2) & (excess > 0)
    chosen: list[int] = []
    for place in np.argsort(-excess, kind="stable"):
        shared = [int((inside[place] & inside[other]).sum()) for other in chosen]
        apart = all(
            both < _OVERLAP * min(sizes[place], sizes[other]) for both, other in zip(shared, chosen, strict=True)
        )
        if fits[place] and apart:
            chosen.append(int(place))
        if len(chosen) == most:
            break
    return [candidates[place][0] for place in chosen]


def _candidates(
    features: NDArray[np.float64], losses: NDArray[np.float64], labels: NDArray[np.int64], rng: np.random.Generator
) -> Iterator[tuple[Region, NDArray[np.bool_]]]:
    axes = int(np.clip(len(features) // IMAGES_PER_AXIS, 1, AXES))
    plain = plain_view(features, most=AXES, rng=rng)
    free = class_free_view(features, labels, most=axes, rng=rng)
    for view in (plain, free):
        if view.axes.shape[1]:
            yield from _clusters(view, view(features), rng)
    if free.axes.shape[1]:
        yield from _tails(free, free(features), losses)


def _clusters(
    view: FeatureView, points: NDArray[np.float64], rng: np.random.Generator
) -> Iterator[tuple[Region, NDArray[np.bool_]]]:
    some = points if len(points) <= MOST_CLUSTERED else points[rng.permutation(len(points))[:MOST_CLUSTERED]]
    for count in CLUSTERS:
        centres = k_means(some, count, rng=rng)
        nearest = nearest_centre(points, centres)
        for which in range(len(centres)):
            yield Cluster(view, centres, which), nearest == which


def _tails(
    view: FeatureView, points: NDArray[np.float64], losses: NDArray[np.float64]
) -> Iterator[tuple[Region, NDArray[np.bool_]]]:
    directions, thresholds = np.zeros((points.shape[1], 0)), np.zeros(0)
    left = np.ones(len(points), dtype=np.bool_)
    for _ in range(DIRECTIONS):
        wrong, right = losses[left], 1 - losses[left]
        if wrong.sum() < 5 or right.sum() < 5:
            return
        direction = wrong @ points[left] / wrong.sum() - right @ points[left] / right.sum()
        along = points @ direction
        limits = np.quantile(along, 1 - np.array(TAIL_SHARES))
        masks = left & (along > limits[:, None])
        directions = np.column_stack([directions, direction])
        for limit, mask in zip(limits, masks, strict=True):
            yield Tail(view, directions, np.append(thresholds, limit)), mask
        best = int(_standardised_excess(masks, losses).argmax())
        thresholds, left = np.append(thresholds, limits[best]), left & ~masks[best]


def _standardised_excess(inside: NDArray[np.bool_], losses: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean loss inside less outside, over its standard error were all images alike; (c, n) and (n,) → (c,)."""
    n, total = inside.sum(1), losses.sum()
    rest = len(losses) - n
    lost = inside @ losses
    spread = np.sqrt(max(float(losses.var()), 1e-12) * (1 / np.maximum(n, 1) + 1 / np.maximum(rest, 1)))
    return np.where((n > 0) & (rest > 0), (lost / np.maximum(n, 1) - (total - lost) / np.maximum(rest, 1)) / spread, 0)
