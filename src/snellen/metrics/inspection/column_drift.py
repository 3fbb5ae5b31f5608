"""Drift of single columns: properties of images (brightness, contrast …) and classes."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from snellen.core.errors import InputError
from snellen.metrics.inspection.unit_exchange import drawn_p_values, exchanged, joined_units

#: Below this expected count in a cell, the chi-square law is not trusted, and units change sides instead.
FEWEST_EXPECTED = 5

#: Where images come in units, distribution functions are compared at so many values at most, quantiles of both sets.
COMPARED_VALUES = 64

#: Units of each set that are compared, drawn at random; bounds time and memory (14 MB for eleven properties).
COMPARED_UNITS = 2_500

#: Values of less spread than this share of their size differ by rounding alone.
ROUNDING = 1e-9


@dataclass(frozen=True)
class PropertyDrift:
    """How one property differs between two sets.

    Attributes:
        name: of the property.
        p_value: of "one distribution" (Kolmogorov and Smirnov).
        distance: largest difference of the two distribution functions, in [0, 1].
        difference: mean of the second set less mean of the first, in standard deviations within both; negative is
            less. 0 where there is no spread within either.
        spread: that standard deviation; 0 where both sets are constant, but for rounding.
    """

    name: str
    p_value: float
    distance: float
    difference: float
    spread: float


@dataclass(frozen=True, eq=False)
class LabelDrift:
    """How the shares of classes differ between two sets.

    Attributes:
        p_value: of "one distribution of classes".
        distance: total variation distance, the share of images that would have to change class, in [0, 1].
        changes: float64 (k,), share of each class in the second set less that in the first.
    """

    p_value: float
    distance: float
    changes: NDArray[np.float64]


def property_drift(
    first: Mapping[str, ArrayLike],
    second: Mapping[str, ArrayLike],
    *,
    first_units: NDArray[np.int64] | None = None,
    second_units: NDArray[np.int64] | None = None,
    permutations: int = 999,
    seed: int = 0,
) -> tuple[PropertyDrift, ...]:
    """Test each property by the two-sample statistic of Kolmogorov and Smirnov; smallest p values first.

    Independent images: :func:`kolmogorov_p_value`, on the safe side with ties. Images in units: whole units change
    sides, of all properties at once, and the p value is that of the largest difference at :data:`COMPARED_VALUES`.

    >>> light, dark = np.linspace(0.2, 1, 200), np.linspace(0, 0.8, 200)
    >>> found = property_drift({"brightness": light}, {"brightness": dark})[0]
    >>> found.p_value < 1e-5, round(found.distance, 2), round(found.difference, 2)
    (True, 0.25, -0.86)

    Args:
        first: name → (n,), finite.
        second: name → (m,), finite, of the same names.
        first_units: (n,) codes; images of one unit are dependent. None: each image is a unit.
        second_units: (m,); a code means another unit than the same code of the first set.
        permutations: number of draws; :data:`~snellen.metrics.inspection.unit_exchange.FURTHER` times as many where
            none of them is as extreme as the data.
        seed: of the draws.

    Raises:
        InputError: other names, wrong shapes, values not finite, fewer than two units in a set.
    """
    if set(first) != set(second):
        raise InputError(f"both sets need the same properties, got {sorted(first)} and {sorted(second)}")
    names = sorted(first)
    if not names:
        return ()
    pairs = [without_rounding(_column(first[name], name), _column(second[name], name)) for name in names]
    sizes = {(len(before), len(after)) for before, after, _ in pairs}
    if len(sizes) > 1:
        raise InputError(f"each property needs one value for each image of a set, got {sorted(sizes)} values")
    (first_n, second_n), *_ = sizes
    units, unit_in_second = joined_units(first_n, second_n, first_units, second_units)
    distances = [_distance(before, after) for before, after, _ in pairs]
    if len(unit_in_second) == len(units):
        p_values = [kolmogorov_p_value(distance, first_n, second_n) for distance in distances]
    else:
        columns = np.array([np.concatenate(pair[:2]) for pair in pairs])
        rng = np.random.default_rng(seed)
        p_values = _exchanged_p_values(columns, units, unit_in_second, permutations, rng).tolist()
    found = [
        PropertyDrift(
            name, p_value, distance, float(after.mean() - before.mean()) / spread if spread > 0 else 0.0, spread
        )
        for name, p_value, distance, (before, after, spread) in zip(names, p_values, distances, pairs, strict=True)
    ]
    return tuple(sorted(found, key=lambda one: one.p_value))


def kolmogorov_p_value(distance: float, first_n: int, second_n: int) -> float:
    """P value of the two-sample statistic of Kolmogorov and Smirnov, by its limiting law (Smirnov 1948).

    2 Σ (−1)^(k−1) exp(−2 k² λ²) with λ = √(n m / (n + m)) D. Without the usual corrections for small samples (Stephens
    1970, or the exact law of one sample), which give p values down to 0.65 of the exact ones for sets of equal size, 20
    each, and 0.8 for 200. This one is never below 0.99 of the exact p value, nor above 1.2 of it for sets of 20 to 200.

    >>> round(kolmogorov_p_value(0.25, 60, 60), 3)
    0.047
    """
    from scipy.special import kolmogorov

    return float(kolmogorov(math.sqrt(first_n * second_n / (first_n + second_n)) * distance))


def _distance(before: NDArray[np.float64], after: NDArray[np.float64]) -> float:
    """Largest difference of two distribution functions."""
    values = np.concatenate([before, after])
    below = [np.searchsorted(np.sort(part), values, "right") / len(part) for part in (before, after)]
    return float(np.abs(below[0] - below[1]).max())


def _exchanged_p_values(
    columns: NDArray[np.float64],
    units: NDArray[np.int64],
    unit_in_second: NDArray[np.bool_],
    permutations: int,
    rng: np.random.Generator,
) -> NDArray[np.float64]:
    """P values (c,) of columns (c, n): whole units change sides."""
    drawn = [rng.permutation(np.flatnonzero(side))[:COMPARED_UNITS] for side in (~unit_in_second, unit_in_second)]
    kept = np.sort(np.concatenate(drawn))
    code = np.full(len(unit_in_second), -1)
    code[kept] = np.arange(len(kept))
    used = code[units] >= 0
    sides, rows = unit_in_second[kept], code[units[used]]
    sizes = np.bincount(rows, minlength=len(kept)).astype(np.float32)
    # Counts of a unit's images up to each value, exact in float32 up to 2^24.
    below = np.stack([_counts_below(column[used], rows, len(kept)) for column in columns])
    stacked = below.reshape(-1, len(kept))
    everything = stacked.sum(1, dtype=np.float64).reshape(*below.shape[:2], 1)

    def distances(parts: NDArray[np.bool_]) -> NDArray[np.float64]:
        second = parts.astype(np.float32)
        risen = (stacked @ second).astype(np.float64).reshape(*below.shape[:2], -1)
        n = (sizes @ second).astype(np.float64)
        gaps: NDArray[np.float64] = np.abs(risen / n - (everything - risen) / (sizes.sum() - n)).max(1)
        return gaps

    seen = distances(sides[:, None])[:, 0]
    return drawn_p_values(seen, lambda count: distances(exchanged(sides, count, rng)), permutations=permutations)


def _counts_below(values: NDArray[np.float64], units: NDArray[np.int64], count: int) -> NDArray[np.float32]:
    """How many images of each unit do not exceed each of :data:`COMPARED_VALUES` quantiles, (values, units)."""
    borders = np.quantile(values, np.linspace(0, 1, COMPARED_VALUES), method="inverted_cdf")
    distinct = np.unique(values)
    if len(distinct) <= COMPARED_VALUES:
        borders = np.pad(distinct, (0, COMPARED_VALUES - len(distinct)), mode="edge")
    cell = np.searchsorted(borders, values, "left") * count + units
    counts = np.bincount(cell, minlength=COMPARED_VALUES * count).reshape(COMPARED_VALUES, count)
    return np.cumsum(counts, 0).astype(np.float32)


def without_rounding(
    before: NDArray[np.float64], after: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64], float]:
    """Both sets and the spread within them; values that differ by rounding alone are made equal.

    >>> before, after, spread = without_rounding(np.array([0.1, 0.1 + 1e-12]), np.array([0.1]))
    >>> len({*before, *after}), spread
    (1, 0.0)

    Args:
        before: values of the first set (n,).
        after: values of the second one (m,).
    """
    size = max(np.abs(before).max(initial=0), np.abs(after).max(initial=0))
    count = max(len(before) + len(after), 1)
    spread = (
        math.sqrt((before.var() * len(before) + after.var() * len(after)) / count) if len(before) * len(after) else 0
    )
    if spread > ROUNDING * size or not len(before) * len(after):
        return before, after, float(spread)
    first, second = float(before.mean()), float(after.mean())
    second = first if abs(second - first) <= ROUNDING * size else second
    return np.full(len(before), first), np.full(len(after), second), 0.0


def label_drift(
    first: ArrayLike,
    second: ArrayLike,
    *,
    classes: int,
    first_units: NDArray[np.int64] | None = None,
    second_units: NDArray[np.int64] | None = None,
    permutations: int = 999,
    seed: int = 0,
) -> LabelDrift:
    """Pearson's chi-square test of homogeneity of the counts of classes.

    Where images come in units, or an expected count is below :data:`FEWEST_EXPECTED`, whole units change sides instead
    of trusting the chi-square law.

    >>> found = label_drift([0] * 60 + [1] * 40, [0] * 40 + [1] * 60, classes=2)
    >>> round(found.p_value, 4), round(found.distance, 2), [round(float(c), 2) for c in found.changes]
    (0.0047, 0.2, [-0.2, 0.2])

    Args:
        first: int (n,) in 0 … classes−1.
        second: int (m,).
        classes: k.
        first_units: (n,) codes; images of one unit are dependent. None: each image is a unit.
        second_units: (m,); a code means another unit than the same code of the first set.
        permutations: number of draws; :data:`~snellen.metrics.inspection.unit_exchange.FURTHER` times as many where
            none of them is as extreme as the data.
        seed: of the draws.

    Raises:
        InputError: labels that are no classes, fewer than two units in a set.
    """
    before, after = _classes(first, classes), _classes(second, classes)
    units, unit_in_second = joined_units(len(before), len(after), first_units, second_units)
    labels = np.concatenate([before, after])
    total = np.bincount(labels, minlength=classes).astype(np.float64)
    present = np.flatnonzero(total)
    independent = len(unit_in_second) == len(units)

    def statistic(counts: NDArray[np.float64]) -> NDArray[np.float64]:
        size = counts.sum(0)
        expected = total[present, None] * size / len(labels)
        rest = total[present, None] - expected
        return ((counts - expected) ** 2 * (1 / expected + 1 / rest)).sum(0)[None]

    rng = np.random.default_rng(seed)
    counts = np.bincount(after, minlength=classes)[present].astype(np.float64)
    seen = statistic(counts[:, None])[0]
    expected = total[present].min() * min(len(before), len(after)) / len(labels)
    if len(present) < 2:
        p_value = 1.0
    elif independent and expected >= FEWEST_EXPECTED:
        half = torch.tensor([(len(present) - 1) / 2, float(seen[0]) / 2], dtype=torch.float64)
        p_value = float(torch.special.gammaincc(half[0], half[1]))
    else:
        draws = _class_counts(units, labels, unit_in_second, present, rng)
        p_value = float(drawn_p_values(seen, lambda count: statistic(draws(count)), permutations=permutations)[0])
    shares = [np.bincount(part, minlength=classes) / len(part) for part in (before, after)]
    changes = shares[1] - shares[0]
    return LabelDrift(p_value, float(np.abs(changes).sum() / 2), changes)


def _class_counts(
    units: NDArray[np.int64],
    labels: NDArray[np.int64],
    unit_in_second: NDArray[np.bool_],
    present: NDArray[np.int64],
    rng: np.random.Generator,
) -> Callable[[int], NDArray[np.float64]]:
    """Draws of the counts of the classes in the second set when units change sides: number → (classes, number)."""
    if len(unit_in_second) == len(units):
        # Counts of single images that change sides have a law of their own, which is cheaper to draw from.
        total, size = np.bincount(labels)[present], int(unit_in_second.sum())
        return lambda count: rng.multivariate_hypergeometric(total, size, count, method="marginals").T.astype(
            np.float64
        )
    by_unit = np.zeros((len(unit_in_second), len(present)), dtype=np.float32)
    np.add.at(by_unit, (units, np.searchsorted(present, labels)), 1)
    return lambda count: (by_unit.T @ exchanged(unit_in_second, count, rng).astype(np.float32)).astype(np.float64)


def _column(values: ArrayLike, name: str) -> NDArray[np.float64]:
    column = np.asarray(values, dtype=np.float64)
    if column.ndim != 1 or not np.isfinite(column).all():
        raise InputError(f"property {name!r} must be finite numbers (n,), got shape {column.shape}")
    return column


def _classes(values: ArrayLike, classes: int) -> NDArray[np.int64]:
    labels = np.asarray(values)
    if labels.ndim != 1 or (len(labels) and labels.dtype.kind not in "iu"):
        raise InputError(f"labels must be integers (n,), got {labels.dtype} {labels.shape}")
    if len(labels) and not (labels.min() >= 0 and labels.max() < classes):
        raise InputError(f"labels must lie in 0 … {classes - 1}, got {labels.min()} to {labels.max()}")
    return labels.astype(np.int64)
