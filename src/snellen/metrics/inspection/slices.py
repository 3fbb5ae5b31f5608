"""Hidden subgroups: coherent groups of images that are much worse than the rest, found without group labels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from snellen.core.errors import InputError
from snellen.metrics.inspection.excess_loss import ExcessLoss, excess_loss
from snellen.metrics.inspection.regions import Region, error_regions

#: Fewest images: below, no half can show a subgroup.
FEWEST = 100


@dataclass(frozen=True)
class PropertyContrast:
    """How an image property of a slice differs from the rest.

    Attributes:
        name: of the property.
        difference: mean of the slice less mean of the rest, in standard deviations within both; negative is less.
    """

    name: str
    difference: float


@dataclass(frozen=True, eq=False)
class ErrorSlice:
    """A subgroup, and how much worse it is.

    Attributes:
        members: int64 (m,), positions of all images that the rule takes, of both halves, in order.
        share: m over all images.
        excess: loss of the members beside the rest, on the held-out half only: gap, counts, p value, ``lower``.
        label: class that most members have.
        label_share: share of the members that have it. Close to 1, the slice is (a part of) a class:
            ``excess.gap_within_classes`` then shows whether it is worse than the rest of that class.
        prediction: class that most members were taken for.
        prediction_share: share of the members that were.
        confidence: mean confidence of the members on the held-out half; NaN when none was given.
        rest_confidence: that of the rest.
        prototypes: int64 (≤ 9,), positions of the members nearest to the mean of the slice, nearest first.
        contrasts: properties by the size of their difference, largest first.
    """

    members: NDArray[np.int64]
    share: float
    excess: ExcessLoss
    label: int
    label_share: float
    prediction: int
    prediction_share: float
    confidence: float
    rest_confidence: float
    prototypes: NDArray[np.int64]
    contrasts: tuple[PropertyContrast, ...]

    @property
    def p_value(self) -> float:
        """One-sided, of "no worse than the rest"; it counts for one of all tests of the search."""
        return self.excess.p_value

    def lower(self, confidence: float = 0.95) -> float:
        """One-sided lower bound of the gap; see :meth:`ExcessLoss.lower`."""
        return self.excess.lower(confidence)


@dataclass(frozen=True, eq=False)
class SliceSearch:
    """All slices that were tested, most certain first.

    Attributes:
        slices: by p value. Every one counts as a test.
        held_out: bool (n,), images of the half that tested; the others proposed the slices.
    """

    slices: tuple[ErrorSlice, ...]
    held_out: NDArray[np.bool_]

    @property
    def p_values(self) -> tuple[float, ...]:
        """One for each slice, for the control of the false discovery rate over the whole audit."""
        return tuple(one.p_value for one in self.slices)


def find_slices(
    features: ArrayLike,
    losses: ArrayLike,
    *,
    labels: ArrayLike,
    predictions: ArrayLike,
    confidence: ArrayLike | None = None,
    units: ArrayLike | None = None,
    properties: Mapping[str, ArrayLike] | None = None,
    most: int = 8,
    seed: int = 0,
) -> SliceSearch:
    """Search half of the units for subgroups with excess loss, and test what was found on the other half.

    The halves share no unit, and membership is a rule on features alone (:func:`error_regions`), so each p value is
    valid for every search. Features must not hold the label; those of the audited model hold its prediction, so a
    region along a decision border is found as well, and is a true slice: ``confidence`` shows whether the model knows.
    The result does not depend on the order of the images, but for rounding.

    >>> rng = np.random.default_rng(0)
    >>> hidden = rng.random(2000) < 0.1
    >>> features = rng.normal(size=(2000, 8)) + 5 * hidden[:, None] * np.eye(8)[0]
    >>> wrong = rng.random(2000) < np.where(hidden, 0.5, 0.05)
    >>> found = find_slices(features, wrong, labels=np.zeros(2000, int), predictions=wrong.astype(int)).slices[0]
    >>> found.p_value < 1e-6, found.lower() > 0.2, bool(hidden[found.members].mean() > 0.8)
    (True, True, True)

    Args:
        features: (n, d), finite, from a frozen layer or another encoder; n ≥ 100.
        losses: (n,) in [0, 1]: errors, or a bounded loss. Leave out images whose loss is not known.
        labels: int (n,), true classes.
        predictions: int (n,).
        confidence: (n,), of the predictions.
        units: (n,) codes; images of one unit (patient, lot, video) are dependent. None: each image is a unit.
        properties: name → (n,), image properties that may name a slice (brightness, contrast …).
        most: largest number of slices that are tested.
        seed: of the halves and of the clustering.

    Returns:
        Slices by p value; none when the searching half has no errors or no region stands out.

    Raises:
        InputError: wrong shapes, values not finite, losses outside [0, 1], too few images or units.
    """
    points, values = np.asarray(features, dtype=np.float64), np.asarray(losses, dtype=np.float64)
    truth, guess = np.asarray(labels), np.asarray(predictions)
    n = _check(points, values, truth, guess)
    sure = np.full(n, np.nan) if confidence is None else _column(confidence, n, "confidence")
    measured = {name: _column(column, n, f"property {name!r}") for name, column in (properties or {}).items()}
    codes = _units(units, n, points, values)
    held_out = _held_out(codes, seed)
    # Sums and first centres follow the units, not the order in which the images came.
    order = np.lexsort((points[:, 0], values, codes))
    searched = order[~held_out[order]]
    regions = error_regions(points[searched], values[searched], truth[searched], most=most, seed=seed)
    found = [_describe(region, points, values, truth, guess, sure, measured, codes, held_out) for region in regions]
    return SliceSearch(tuple(sorted(found, key=lambda one: (one.p_value, -one.lower()))), held_out)


def _describe(
    region: Region,
    points: NDArray[np.float64],
    losses: NDArray[np.float64],
    labels: NDArray[np.int64],
    predictions: NDArray[np.int64],
    confidence: NDArray[np.float64],
    properties: Mapping[str, NDArray[np.float64]],
    units: NDArray[np.int64],
    held_out: NDArray[np.bool_],
) -> ErrorSlice:
    inside = region(points)
    members = np.flatnonzero(inside)
    seen = region.view(points[members])
    near = np.argsort(((seen - seen.mean(0)) ** 2).sum(1), kind="stable")[:9]
    label, label_share = _most_common(labels[members])
    prediction, prediction_share = _most_common(predictions[members])
    tested, rest = inside & held_out, ~inside & held_out
    return ErrorSlice(
        members=members,
        share=len(members) / len(points),
        excess=excess_loss(losses[held_out], inside[held_out], units=units[held_out], classes=labels[held_out]),
        label=label,
        label_share=label_share,
        prediction=prediction,
        prediction_share=prediction_share,
        confidence=float(confidence[tested].mean()) if tested.any() else float("nan"),
        rest_confidence=float(confidence[rest].mean()) if rest.any() else float("nan"),
        prototypes=members[near],
        contrasts=property_contrasts(properties, inside),
    )


def property_contrasts(
    properties: Mapping[str, NDArray[np.float64]], inside: NDArray[np.bool_]
) -> tuple[PropertyContrast, ...]:
    """Standardised differences of means (Cohen's d, pooled) of image properties, largest in size first.

    >>> property_contrasts({"brightness": np.array([1.0, 3.0, 5.0, 7.0])}, np.array([True, True, False, False]))
    (PropertyContrast(name='brightness', difference=-4.0),)

    Args:
        properties: name → (n,).
        inside: (n,), the slice. Properties without spread on both sides, or a side without images, differ by 0.
    """
    n, rest = int(inside.sum()), int((~inside).sum())
    found = []
    for name, values in properties.items():
        spread = np.sqrt((values[inside].var() * n + values[~inside].var() * rest) / (n + rest)) if n and rest else 0.0
        gap = values[inside].mean() - values[~inside].mean() if spread > 0 else 0.0
        found.append(PropertyContrast(name, float(gap / spread) if spread > 0 else 0.0))
    return tuple(sorted(found, key=lambda contrast: (-abs(contrast.difference), contrast.name)))


def _most_common(codes: NDArray[np.int64]) -> tuple[int, float]:
    values, counts = np.unique(codes, return_counts=True)
    return int(values[counts.argmax()]), float(counts.max() / len(codes))


def _held_out(codes: NDArray[np.int64], seed: int) -> NDArray[np.bool_]:
    count = int(codes.max()) + 1
    return np.isin(codes, np.random.default_rng(seed).permutation(count)[count // 2 :])


def _units(
    units: ArrayLike | None, n: int, points: NDArray[np.float64], losses: NDArray[np.float64]
) -> NDArray[np.int64]:
    if units is None:
        # Images are numbered by what they are, so that the halves do not depend on the order in which they came.
        codes = np.empty(n, dtype=np.int64)
        codes[np.lexsort((losses, *points.T[:8]))] = np.arange(n)
        return codes
    given = np.asarray(units)
    if given.shape != (n,):
        raise InputError(f"units must hold one code for each of the {n} images, got {given.shape}")
    codes = np.unique(given, return_inverse=True)[1]
    if codes.max() < 9:
        raise InputError(f"slices need at least 10 units to have two halves, got {codes.max() + 1}")
    return codes


def _check(
    points: NDArray[np.float64], losses: NDArray[np.float64], labels: NDArray[np.int64], guess: NDArray[np.int64]
) -> int:
    n = len(losses)
    if points.ndim != 2 or not points.shape[1] or any(a.shape != (len(points),) for a in (losses, labels, guess)):
        shapes = ", ".join(str(a.shape) for a in (points, losses, labels, guess))
        raise InputError(f"expected features (n, d), losses, labels and predictions (n,); got {shapes}")
    if n < FEWEST:
        raise InputError(f"slices need at least {FEWEST} images, got {n}")
    if not np.isfinite(points).all():
        raise InputError("features must be finite; leave out images without features")
    # Written so that NaN fails too.
    if not ((losses >= 0) & (losses <= 1)).all():
        raise InputError(
            f"losses must lie in [0, 1], got {losses.min()} to {losses.max()}; pass errors or a bounded loss"
        )
    for what, codes in (("labels", labels), ("predictions", guess)):
        if codes.dtype.kind not in "iu":
            raise InputError(f"{what} must be integers, got {codes.dtype}")
    return n


def _column(values: ArrayLike, n: int, what: str) -> NDArray[np.float64]:
    column = np.asarray(values, dtype=np.float64)
    if column.shape != (n,) or not np.isfinite(column).all():
        raise InputError(f"{what} must hold one finite number for each of the {n} images, got shape {column.shape}")
    return column
