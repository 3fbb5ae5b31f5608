"""Matches between fingerprints: pairs whose bits agree, verified by thumbnails, light, colour and features.

Thumbnails of trousers lie nearer together than photographs of anything, so one distance for all sets cannot separate a
copy from a look-alike. The share of a set within distance r of an image follows, for small r, a power of r whose
exponent is the local dimension (Levina and Bickel, "Maximum likelihood estimation of intrinsic dimension", NIPS 2004).
Carried on to distances at which a set of this size should hold hardly any pair, it gives the limit: a number of false
alarms in the sense of Desolneux, Moisan and Morel, "Meaningful alignments" (IJCV 2000).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from snellen.core.errors import InputError
from snellen.metrics.inspection.fingerprints import Fingerprints, close_pairs, hamming_distances

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
        pairs: how many pairs are examined in all.
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
    """Positions of references that are not within the limit of an earlier one: int64 (r,), ascending.

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


#: Largest distance of a near duplicate in any set: a correlation of 0.82 between thumbnails.
LARGEST_DISTANCE = 0.6

#: Up to this distance thumbnails count as the same when the likeness of a set is measured: rounding to eight bits.
SAME_DISTANCE = 0.02

#: Largest ratio of contrasts, and largest difference of mean luma, of near duplicates.
LARGEST_CONTRAST_RATIO, LARGEST_BRIGHTNESS_STEP = 1.5, 0.2

#: Largest difference of colour: this much, and this share of the colour itself, which grows with light and contrast.
LARGEST_CHROMA_STEP, LARGEST_CHROMA_SHARE = 0.02, 0.25

#: Share of random pairs whose features are as near as those of a near duplicate must be.
FEATURE_SHARE = 0.01

#: Images whose pairs show how alike features are anyway.
RANDOM_FEATURES = 1_000

#: A set of fewer images says too little about how alike it is; its near duplicates are within this distance.
SMALL_SET, SMALL_SET_DISTANCE = 20, 0.15

#: How often at most copies are taken out of the references and limits found anew.
THINNINGS = 4

#: Pairs that are verified at a time: about 100 MB.
PAIRS_AT_ONCE = 50_000


#: Positions in the first and second set, distances and bits of some pairs.
Rows = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64], NDArray[np.int64]]


@dataclass(frozen=True, eq=False)
class Matches:
    """Verified pairs, sorted by position.

    Attributes:
        first: int64 (p,), positions in the first set.
        second: int64 (p,), positions in the second.
        distance: float64 (p,) in [0, 0.6], Euclidean distance of the thumbnails, each less its mean and of length 1.
        bits: int64 (p,) in 0 … 128, in how many bits the fingerprints differ.
        mirrored: bool (p,), one is like the mirror image of the other, not like the other itself.
    """

    first: NDArray[np.int64]
    second: NDArray[np.int64]
    distance: NDArray[np.float64]
    bits: NDArray[np.int64]
    mirrored: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.first)

    def select(self, rows: NDArray[np.integer] | NDArray[np.bool_]) -> Matches:
        """Some of the matches, by positions or by a mask."""
        return Matches(self.first[rows], self.second[rows], self.distance[rows], self.bits[rows], self.mirrored[rows])


@dataclass(frozen=True, eq=False)
class _Side:
    """One of the two sets, ready for the comparison of pairs."""

    codes: NDArray[np.uint64]
    shapes: NDArray[np.float32]
    brightness: NDArray[np.floating]
    contrast: NDArray[np.floating]
    chroma: NDArray[np.floating]
    limits: NDArray[np.float64]
    features: NDArray[np.float32] | None

    @classmethod
    def of(
        cls, prints: Fingerprints, limits: NDArray[np.float64], features: NDArray[np.float32] | None, mirrored: bool
    ) -> _Side:
        side = prints.mirrored() if mirrored else prints
        pixels = side.thumbnails.reshape(len(side), math.prod(side.thumbnails.shape[1:])).astype(np.float32) / 255
        chroma = side.chroma.reshape(len(side), math.prod(side.chroma.shape[1:])).astype(np.float32) / 255
        contrast = np.asarray(np.std(pixels, axis=1))
        return cls(side.codes, shapes(side), pixels.mean(1), contrast, chroma, limits, features)


def shapes(prints: Fingerprints) -> NDArray[np.float32]:
    """Thumbnails less their mean, of length 1: float32 (n, 256). A constant one stays 0.

    >>> from snellen.metrics.inspection.fingerprints import fingerprint
    >>> import torch
    >>> ramp = torch.linspace(0, 1, 16).expand(1, 3, 16, 16)
    >>> round(float(np.linalg.norm(shapes(fingerprint(ramp)))), 6)
    1.0
    """
    pixels = prints.thumbnails.reshape(len(prints), math.prod(prints.thumbnails.shape[1:])).astype(np.float32)
    pixels -= pixels.mean(1, keepdims=True)
    length = np.sqrt((pixels.astype(np.float64) ** 2).sum(1, keepdims=True))
    return (pixels / np.maximum(length, 1e-9)).astype(np.float32)


def sample(prints: Fingerprints) -> NDArray[np.int64]:
    """Positions of at most 2,000 images, drawn and ordered by what they show: the order of a set does not matter."""
    # A random linear code of the thumbnails, modulo 2^64: images with equal bits still have an order of their own.
    weights = np.random.default_rng(0).integers(0, 2**64, math.prod(prints.thumbnails.shape[1:]), np.uint64)
    mixed = prints.thumbnails.reshape(len(prints), len(weights)).astype(np.uint64) @ weights
    return np.lexsort((prints.gradient, prints.frequency, mixed))[:REFERENCES].astype(np.int64)


def matches(
    first: Fingerprints,
    second: Fingerprints | None = None,
    *,
    first_features: NDArray[np.floating] | None = None,
    second_features: NDArray[np.floating] | None = None,
    radius: int = 15,
    mirrored: bool = True,
    false_alarms: float = 1.0,
) -> Matches:
    """Find the near duplicates within a set, or between two.

    A pair matches if its bits differ in at most ``radius`` of 128, its thumbnails are nearer than images of this set
    come by chance (see :mod:`snellen.metrics.inspection.matching`), light, contrast and colour are about the same,
    and, where there are features, their cosine is among the highest 1 % of random pairs. Flat images match nothing.

    >>> import torch
    >>> from snellen.metrics.inspection.fingerprints import fingerprint
    >>> noise = torch.rand(30, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    >>> again = fingerprint(torch.cat([noise, 0.9 * noise[4:5], noise[7:8].flip(3)]))
    >>> found = matches(again)
    >>> found.first.tolist(), found.second.tolist(), found.mirrored.tolist()
    ([4, 7], [30, 31], [False, True])

    Args:
        first: fingerprints of n images.
        second: fingerprints of m images; None for pairs within the first, each listed once.
        first_features: (n, d), finite, of any length.
        second_features: (m, d).
        radius: largest number of bits; above 15 the search compares all codes.
        mirrored: whether mirror images match too.
        false_alarms: how many pairs of different images may pass in the whole search, by expectation.

    Raises:
        InputError: features of another shape or not finite, features of one set only, a radius out of range.
    """
    distinct = second is None
    other = first if second is None else second
    other_features = first_features if second is None else second_features
    features = _unit_features(first_features, len(first), "first"), _unit_features(other_features, len(other), "second")
    if (features[0] is None) != (features[1] is None):
        raise InputError("features came for one of the two sets only; give those of both, or none")
    if features[0] is not None and features[1] is not None and features[0].shape[1] != features[1].shape[1]:
        widths = f"{features[0].shape[1]} and {features[1].shape[1]}"
        raise InputError(f"the two sets have {widths} features; take those of the same layer of the same network")
    if not false_alarms > 0:
        raise InputError(f"the expected number of false alarms is above 0, got {false_alarms}")
    pool = first if second is None else Fingerprints.joined([first, second])
    pairs = len(first) * (len(first) - 1) / 2 if distinct else float(len(first) * len(other))
    limits = _limits(pool, pairs * (1 + mirrored), false_alarms)
    left = _Side.of(first, limits[: len(first)], features[0], mirrored=False)
    found = []
    for turned in (False, True) if mirrored else (False,):
        right = _Side.of(other, limits[-len(other) :] if len(other) else limits[:0], features[1], mirrored=turned)
        for rows, columns in close_pairs(left.codes, right.codes, radius, distinct=distinct):
            meaningful = ~(first.flat[rows] | other.flat[columns])
            found += [
                (*part, np.full(len(part[0]), turned))
                for part in _verified(left, right, rows[meaningful], columns[meaningful])
            ]
    kept = _sorted(found)
    if features[0] is None or features[1] is None:
        return kept
    return kept.select(_features_agree(kept, pool, features[0], features[1], distinct=distinct))


def _limits(pool: Fingerprints, pairs: float, false_alarms: float) -> NDArray[np.float64]:
    meaningful = np.flatnonzero(~pool.flat)
    if len(meaningful) < SMALL_SET:
        return np.full(len(pool), SMALL_SET_DISTANCE)
    vectors = shapes(pool)
    references = vectors[meaningful[sample(pool.select(meaningful))]]
    limits = np.zeros(len(pool))
    for _ in range(THINNINGS):
        limits = coincidence_limits(vectors, references, pairs=pairs, same=SAME_DISTANCE, false_alarms=false_alarms)
        # The median is a limit that copies do not lower as long as most images have few.
        kept = without_copies(references, float(np.median(limits[meaningful])))
        if len(kept) == len(references):
            break
        references = references[kept]
    return np.minimum(limits, LARGEST_DISTANCE)


def _verified(left: _Side, right: _Side, rows: NDArray[np.int64], columns: NDArray[np.int64]) -> Iterator[Rows]:
    for start in range(0, len(rows), PAIRS_AT_ONCE):
        one, two = rows[start : start + PAIRS_AT_ONCE], columns[start : start + PAIRS_AT_ONCE]
        # Subtraction, not 2 − 2 cos: equal thumbnails are at distance 0 exactly.
        distance = np.sqrt(((left.shapes[one] - right.shapes[two]).astype(np.float64) ** 2).sum(1))
        close = distance <= np.minimum(left.limits[one], right.limits[two])
        one, two, distance = one[close], two[close], distance[close]
        contrasts = left.contrast[one], right.contrast[two]
        alike = np.maximum(*contrasts) <= LARGEST_CONTRAST_RATIO * np.minimum(*contrasts)
        alike &= np.abs(left.brightness[one] - right.brightness[two]) <= LARGEST_BRIGHTNESS_STEP
        colours = left.chroma[one], right.chroma[two]
        step, colour = (
            np.sqrt((part**2).mean(1)) for part in (colours[0] - colours[1], np.maximum(*map(np.abs, colours)))
        )
        alike &= step <= LARGEST_CHROMA_STEP + LARGEST_CHROMA_SHARE * colour
        one, two = one[alike], two[alike]
        yield one, two, distance[alike], hamming_distances(left.codes[one], right.codes[two])


def _sorted(found: Sequence[tuple[NDArray[np.generic], ...]]) -> Matches:
    """Each pair once, the image itself before its mirror image."""
    if not found:
        nothing = np.zeros(0, np.int64)
        return Matches(nothing, nothing, nothing.astype(np.float64), nothing, nothing.astype(bool))
    first, second, distance, bits, mirrored = (np.concatenate(parts) for parts in zip(*found, strict=True))
    order = np.lexsort((mirrored, second, first))
    new = np.ones(len(order), bool)
    new[1:] = (np.diff(first[order]) != 0) | (np.diff(second[order]) != 0)
    kept = order[new]
    return Matches(first[kept], second[kept], distance[kept], bits[kept], mirrored[kept])


def _features_agree(
    found: Matches, pool: Fingerprints, one: NDArray[np.float32], two: NDArray[np.float32], *, distinct: bool
) -> NDArray[np.bool_]:
    """Which matches have features at least as near as the nearest 1 % of pairs of images without a match."""
    offset = 0 if distinct else len(one)
    alone = np.ones(len(pool), bool)
    alone[found.first] = alone[found.second + offset] = False
    single = np.flatnonzero(alone)
    if len(single) < SMALL_SET:
        return np.ones(len(found), bool)
    chosen = single[sample(pool.select(single))[:RANDOM_FEATURES]]
    vectors = (one if distinct else np.concatenate([one, two]))[chosen]
    random_pairs = (vectors @ vectors.T)[np.triu_indices(len(vectors), 1)]
    least = np.quantile(random_pairs.astype(np.float64), 1 - FEATURE_SHARE)
    return (one[found.first].astype(np.float64) * two[found.second]).sum(1) >= least


def _unit_features(features: NDArray[np.floating] | None, count: int, which: str) -> NDArray[np.float32] | None:
    if features is None:
        return None
    values = np.asarray(features, dtype=np.float64)
    if values.ndim != 2 or len(values) != count or not np.isfinite(values).all():
        raise InputError(f"the {which} set needs finite features ({count}, d), one row per image; got {values.shape}")
    length = np.linalg.norm(values, axis=1, keepdims=True)
    return (values / np.where(length > 0, length, 1)).astype(np.float32)
