"""Drift: whether two sets of images have different distributions in the features of a frozen network."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from snellen.core.errors import InputError
from snellen.metrics.auroc import placements
from snellen.metrics.auroc_interval import area_bound
from snellen.metrics.inspection.clustering import one_hot, principal_axes
from snellen.metrics.inspection.unit_exchange import FURTHER, exchange_p_value, joined_units, sum_p_value
from snellen.metrics.intervals import Interval

#: Principal axes of the features.
AXES = 64

#: Images for each whitened coordinate.
IMAGES_PER_AXIS = 20

#: Fewest units of a set: half fit the classifier, half measure it.
FEWEST_UNITS = 20

#: Images of each set that the kernel test compares, drawn by unit; its memory is 8 (2 · KERNEL_IMAGES)² bytes.
KERNEL_IMAGES = 2_500

#: Images of each set that the classifier separates, drawn by unit.
CLASSIFIER_IMAGES = 10_000

#: Where none of the kernel's permutations is as extreme as the data, so many times as many are made, on so many images
#: of each set: time grows with the square of these.
FURTHER_DRAWS, FURTHER_IMAGES = 2 * FURTHER, 700

#: From so many units on the kernel test counts in single precision: no two ways to part them tie.
MANY_UNITS = 500


@dataclass(frozen=True, eq=False)
class FeatureDrift:
    """Whether two sets of images differ, and how plainly.

    Attributes:
        kernel_p_value: of "one distribution", by the kernel test.
        classifier_p_value: of "one distribution", by the classifier test (one-sided, area above 0.5).
        auroc: probability that a held-out image of the second set looks more like the second set than a held-out one
            of the first does; 0.5 means that a simple classifier cannot separate the sets.
        standard_error: of the area, by unit, for the classifier as it was fitted.
        units: held-out units of the smaller set.
        foreign: int64, positions in the second set, of the images examined, that look least like the first, strangest
            first.
    """

    kernel_p_value: float
    classifier_p_value: float
    auroc: float
    standard_error: float
    units: int
    foreign: NDArray[np.int64]

    @property
    def p_value(self) -> float:
        """Of "one distribution": twice the smaller of the two p values, which holds the level of the pair."""
        return min(2 * min(self.kernel_p_value, self.classifier_p_value), 1.0)

    @property
    def interval(self) -> Interval:
        """95 %, of the area, two-sided."""
        return Interval(self.lower(0.975), 1 - area_bound(1 - self.auroc, self.standard_error, self.units, 0.975))

    def lower(self, confidence: float) -> float:
        """One-sided lower bound of the area at a confidence in (0, 1)."""
        return area_bound(self.auroc, self.standard_error, self.units, confidence)


def feature_drift(
    first: ArrayLike,
    second: ArrayLike,
    *,
    first_units: NDArray[np.int64] | None = None,
    second_units: NDArray[np.int64] | None = None,
    permutations: int = 999,
    shown: int = 9,
    seed: int = 0,
) -> FeatureDrift:
    """Two-sample tests on frozen features, with an effect size that can be read.

    **Kernel test**: the maximum mean discrepancy (Gretton et al. 2012, JMLR 13) with a Gaussian kernel in whitened
    principal axes, its width the median distance. Whole units change sides for its null law, so it holds its level at
    any sample size, and pairs of one unit do not count. Whitening lets a change in a direction of little spread (a
    blur) weigh as much as one along the classes; on plain features the same test is weaker. It sees any change, also of
    spread, but its memory limits it to :data:`KERNEL_IMAGES` of each set.

    **Classifier test** (Lopez-Paz and Oquab 2017, ICLR): the area under the ROC curve of a linear discriminant on the
    same axes, fitted on half of the units and measured on the other, whose units change sides for the null law; p
    values below those that draws reach are bounds (Chernoff; Hoeffding 1963, JASA 58, section 6). It is blind to
    changes of spread, but takes :data:`CLASSIFIER_IMAGES` of each set and so finds smaller shifts of the mean, or 5 %
    foreign images. Not cross-fitted: the areas of folds depend on one another, and an interval of their mean held the
    truth in 81 % of simulated cases.

    Features of the audited model may take training images otherwise than new ones, if it has memorised them; an encoder
    that saw neither set settles it.

    >>> rng = np.random.default_rng(0)
    >>> found = feature_drift(rng.normal(size=(300, 5)), rng.normal(size=(200, 5)) + 0.7, permutations=99)
    >>> found.kernel_p_value, found.auroc > 0.75, found.interval.low > 0.65
    (0.01, True, True)

    Args:
        first: (n, d), finite, such as training images.
        second: (m, d), finite, such as test images.
        first_units: (n,) codes; images of one unit are dependent. None: each image is a unit.
        second_units: (m,); a code means another unit than the same code of the first set.
        permutations: number of draws. Where none of them is as extreme as the data, further ones (see
            :data:`~snellen.metrics.inspection.unit_exchange.FURTHER`, and :data:`FURTHER_DRAWS` for the kernel, unless
            the p value of the classifier is smaller than those could give).
        shown: number of foreign images.
        seed: of the samples and draws.

    Raises:
        InputError: wrong shapes, values not finite, fewer than 20 units in a set, fewer than 19 permutations.
    """
    before, after = _features(first, "first"), _features(second, "second")
    if before.shape[1] != after.shape[1]:
        raise InputError(f"features of one layer are needed, got {before.shape[1]} and {after.shape[1]} numbers")
    units, unit_in_second = joined_units(len(before), len(after), first_units, second_units)
    smallest = int(min(unit_in_second.sum(), (~unit_in_second).sum()))
    if smallest < FEWEST_UNITS:
        raise InputError(f"each set needs {FEWEST_UNITS} units or more, got {smallest}")
    rng = np.random.default_rng(seed)
    used = _sample(units, unit_in_second, CLASSIFIER_IMAGES, rng)
    # Only what is used becomes float64, and a copy: sets may have far more images.
    drawn = before[used[used < len(before)]], after[used[used >= len(before)] - len(before)]
    points = np.concatenate(drawn).astype(np.float64)
    units, sides = _renumbered(units[used], unit_in_second)
    axes = _whitened(points, AXES, rng)
    separation = _separated(axes, units, sides, permutations, rng)
    scores = separation.scores
    in_second = sides[units]
    strangest = np.flatnonzero(in_second)[np.argsort(-scores[in_second], kind="stable")[:shown]]
    compared = _sample(units, sides, KERNEL_IMAGES, rng)
    p_value = _kernel_p_value(axes[compared], *_renumbered(units[compared], sides), permutations, rng)
    least = 1 / (FURTHER_DRAWS * (permutations + 1))
    if p_value <= 1 / (permutations + 1) and separation.p_value > least:
        # Of two tests the p value counts double, hence twice the draws that one alone would need.
        compared = _sample(units, sides, FURTHER_IMAGES, rng)
        again = _kernel_p_value(axes[compared], *_renumbered(units[compared], sides), round(1 / least) - 1, rng)
        p_value = min(p_value, again)
    foreign = used[strangest] - len(before)
    return FeatureDrift(
        p_value, separation.p_value, separation.area, separation.standard_error, separation.units, foreign
    )


def _kernel_p_value(
    points: NDArray[np.float64],
    units: NDArray[np.int64],
    unit_in_second: NDArray[np.bool_],
    permutations: int,
    rng: np.random.Generator,
) -> float:
    """Test Σ a_u a_v k(u, v) over pairs of units; a is 1/m for images of the second set, −1/n for the others."""
    squares = (points**2).sum(1)
    # In place: a table of all pairs has 128 MB.
    distances = squares[:, None] + squares
    distances -= 2 * points @ points.T
    np.maximum(distances, 0, out=distances)
    some = distances[:1000, :1000] if len(points) <= 1000 else distances[:: len(points) // 1000, :: len(points) // 1000]
    width = float(np.median(some[~np.eye(len(some), dtype=np.bool_)]))
    kernel = _gaussian(distances, width) if width > 0 else np.ones_like(distances)
    sizes = np.bincount(units).astype(np.float64)
    if len(sizes) < len(units):
        # All images of a unit have one weight, so that their kernels may be summed once.
        members = one_hot(units, len(sizes))
        kernel = members @ kernel @ members.T
    np.fill_diagonal(kernel, 0)
    if len(sizes) >= MANY_UNITS:
        kernel = kernel.astype(np.float32)

    def discrepancy(sides: NDArray[np.bool_]) -> NDArray[np.float64]:
        weights = sides / (sizes @ sides) - ~sides / (sizes @ ~sides)
        total: NDArray[np.float64] = (weights * (kernel @ weights.astype(kernel.dtype))).sum(0)
        return total

    return exchange_p_value(discrepancy, unit_in_second, permutations=permutations, rng=rng, further=False)


def _gaussian(distances: NDArray[np.float64], width: float) -> NDArray[np.float64]:
    """Turn squared distances, in place, into exp(−distance / width)."""
    np.negative(distances, out=distances)
    distances /= width
    return np.exp(distances, out=distances)


@dataclass(frozen=True, eq=False)
class _Separation:
    p_value: float
    area: float
    standard_error: float
    units: int
    scores: NDArray[np.float64]


def _separated(
    points: NDArray[np.float64],
    units: NDArray[np.int64],
    unit_in_second: NDArray[np.bool_],
    permutations: int,
    rng: np.random.Generator,
) -> _Separation:
    """P value and area on half of the units, its error by unit (Obuchowski 1997), a score in [0, 1] of each image."""
    half_of_unit = np.empty(len(unit_in_second), dtype=np.int64)
    for side in (unit_in_second, ~unit_in_second):
        half_of_unit[side] = rng.permutation(int(side.sum())) % 2
    halves, in_second = half_of_unit[units], unit_in_second[units]
    scores = np.empty(len(points))
    # Both halves are scored, for the strangest images; the area is that of the last alone.
    for half in (1, 0):
        held, fitted = halves == half, halves != half
        # In coordinates whitened by the whole, the difference of the means is the linear discriminant.
        direction = points[fitted & in_second].mean(0) - points[fitted & ~in_second].mean(0)
        along, second = points[held] @ direction, in_second[held]
        # Against the first set of its own half, because directions have scales of their own.
        scores[held] = below = placements(along, along[~second])
        placement = np.where(second, below, 1 - placements(along, along[second]))
    area = float(placement[second].mean())
    influence = (placement - area) / np.where(second, second.sum(), (~second).sum())
    spread = float(np.sqrt((np.bincount(units[held], influence) ** 2).sum()))
    codes, sides = _renumbered(units[held], unit_in_second)
    # The area is 0.5 + sum over the second set / pairs, because ranks within one set add up to the same for all parts.
    # Twice a rank is a whole number, so that equal sums are equal.
    ranks = np.bincount(codes, np.rint(len(along) * (2 * placements(along, along) - 1))).astype(np.float64)
    fewest = int(min(sides.sum(), (~sides).sum()))
    p_value = sum_p_value(ranks, sides, permutations=permutations, rng=rng)
    return _Separation(p_value, area, spread, fewest, scores)


def _whitened(points: NDArray[np.float64], most: int, rng: np.random.Generator) -> NDArray[np.float64]:
    centred = points - points.mean(0)
    axes, variances = principal_axes(centred, most=int(np.clip(len(points) // IMAGES_PER_AXIS, 1, most)), rng=rng)
    return centred @ (axes / np.sqrt(variances))


def _sample(
    units: NDArray[np.int64], unit_in_second: NDArray[np.bool_], most: int, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Positions of the images of whole units, drawn until a set has as many images as wanted or no more units."""
    sizes = np.bincount(units, minlength=len(unit_in_second))
    kept = np.zeros(len(unit_in_second), dtype=np.bool_)
    for side in (~unit_in_second, unit_in_second):
        drawn = rng.permutation(np.flatnonzero(side))
        before = np.cumsum(sizes[drawn]) - sizes[drawn]
        kept[drawn[before < most]] = True
    return np.flatnonzero(kept[units])


def _renumbered(
    units: NDArray[np.int64], unit_in_second: NDArray[np.bool_]
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    present, codes = np.unique(units, return_inverse=True)
    return codes, unit_in_second[present]


def _features(values: ArrayLike, what: str) -> NDArray[np.floating]:
    given = np.asarray(values)
    features = given if given.dtype.kind == "f" else given.astype(np.float64)
    if features.ndim != 2 or not features.shape[1] or not np.isfinite(features).all():
        raise InputError(f"features of the {what} set must be finite and (n, d), got {features.shape}")
    return features
