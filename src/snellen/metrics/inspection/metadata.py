"""Whether labels follow from metadata alone, such as the scanner: a shortcut that lies in the data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from snellen.metrics.auroc import macro_auroc
from snellen.metrics.auroc_interval import macro_auroc_interval
from snellen.metrics.inspection.unit_exchange import drawn_p_values
from snellen.metrics.intervals import Interval
from snellen.metrics.units import dense_codes

#: Fewest units, and fewest of each class: a class of fewer is left out.
FEWEST_UNITS, FEWEST_OF_CLASS = 20, 4

#: Parts of the units; each is predicted from the others.
FOLDS = 5

#: Units that permutations exchange, drawn at random, and values of a factor that they distinguish: bounds time.
MOST_UNITS, MOST_VALUES = 2_000, 40

#: What is added to each count of a value within a class.
SMOOTHING = 0.5


@dataclass(frozen=True, eq=False)
class MetadataPrediction:
    """How well labels follow from factors.

    Attributes:
        p_value: of "labels do not depend on any factor or pair", by exchanging the factors of whole units.
        labels: (n,), classes that are counted, dense.
        probabilities: (n, k) of these, from all factors, each image's without its own unit.
        units: (n,) codes; None: each image is a unit.
        each: area from each factor alone.
    """

    p_value: float
    labels: NDArray[np.int64]
    probabilities: NDArray[np.float64]
    units: NDArray[np.int64] | None
    each: Mapping[str, float]

    @property
    def auroc(self) -> float:
        """Mean area under the ROC curve over the classes, from all factors; 0.5 is chance."""
        return macro_auroc(self.labels, self.probabilities).value

    def interval(self, confidence: float = 0.95) -> Interval:
        """Two-sided, over units."""
        return macro_auroc_interval(self.labels, self.probabilities, self.units, confidence=confidence)


def metadata_prediction(
    labels: NDArray[np.int64],
    factors: Mapping[str, Sequence[str | None]],
    units: NDArray[np.int64] | None = None,
    *,
    permutations: int = 999,
    seed: int = 0,
) -> MetadataPrediction | None:
    """Predict labels from factors by naive Bayes, and test whether they depend on them at all.

    The prediction of an image uses the counts of the other four fifths of the units: log P(value | class), summed over
    the factors, without the shares of the classes. A missing value is a value.

    The statistic of the test is the largest, over the factors, of Pearson's chi-square between class and value, less
    its degrees of freedom, over the root of twice these. Units weigh the same: counts are the shares of classes and
    values within each. Under independence the factors of one unit could be those of any other, so that permutations of
    units hold the level exactly.

    >>> site = ["A"] * 40 + ["B"] * 40
    >>> found = metadata_prediction(np.repeat([0, 1], 40), {"site": site})
    >>> round(found.auroc, 2), found.p_value < 1e-3
    (1.0, True)

    Args:
        labels: (n,) class of each image.
        factors: name → (n,) values; pairs of factors may be among them.
        units: (n,) codes of units; None: each image is its own.
        permutations: number of draws; more where none of them is as extreme.
        seed: of folds and permutations.

    Returns:
        None where fewer than two classes have :data:`FEWEST_OF_CLASS` units, or all units are fewer than
        :data:`FEWEST_UNITS`, or each factor has one value.
    """
    codes = dense_codes(units, len(labels))
    frequent = [one for one in np.unique(labels) if len(np.unique(codes[labels == one])) >= FEWEST_OF_CLASS]
    kept = np.isin(labels, frequent)
    if len(frequent) < 2:
        return None
    classes = np.searchsorted(frequent, labels[kept])
    codes = dense_codes(codes[kept], int(kept.sum()))
    levels = {name: _coded([values[row] for row in np.flatnonzero(kept).tolist()]) for name, values in factors.items()}
    levels = {name: found for name, found in levels.items() if found.max(initial=0) > 0}
    if not levels or codes.max() + 1 < FEWEST_UNITS:
        return None
    rng = np.random.default_rng(seed)
    fold = rng.permutation(int(codes.max()) + 1)[codes] % FOLDS
    logs = {name: _crossed(classes, found, fold, len(frequent)) for name, found in levels.items()}
    each = {name: macro_auroc(classes, _normalised(found)).value for name, found in logs.items()}
    together = _normalised(np.sum(list(logs.values()), axis=0))
    p_value = _exchanged(classes, list(levels.values()), codes, len(frequent), permutations, rng)
    return MetadataPrediction(p_value, classes, together, None if units is None else codes, each)


def _coded(values: Sequence[str | None]) -> NDArray[np.int64]:
    names = {value: code for code, value in enumerate(sorted({str(one) for one in values if one is not None}))}
    return np.array([len(names) if value is None else names[value] for value in values], dtype=np.int64)


def _crossed(
    classes: NDArray[np.int64], levels: NDArray[np.int64], fold: NDArray[np.int64], count: int
) -> NDArray[np.float64]:
    """Log P(value | class) of each image's value (n, k), counted without its fold."""
    width = int(levels.max()) + 1
    found = np.empty((len(classes), count))
    for one in range(FOLDS):
        rest = fold != one
        counts = np.zeros((count, width))
        np.add.at(counts, (classes[rest], levels[rest]), 1)
        shares = (counts + SMOOTHING) / (counts.sum(1, keepdims=True) + SMOOTHING * width)
        found[~rest] = np.log(shares).T[levels[~rest]]
    return found


def _normalised(logs: NDArray[np.float64]) -> NDArray[np.float64]:
    raised = np.exp(logs - logs.max(1, keepdims=True))
    return raised / raised.sum(1, keepdims=True)


def _exchanged(
    classes: NDArray[np.int64],
    levels: Sequence[NDArray[np.int64]],
    codes: NDArray[np.int64],
    count: int,
    permutations: int,
    rng: np.random.Generator,
) -> float:
    drawn = np.sort(rng.permutation(int(codes.max()) + 1)[:MOST_UNITS])
    place = np.full(int(codes.max()) + 1, -1)
    place[drawn] = np.arange(len(drawn))
    used = place[codes] >= 0
    rows = place[codes[used]]
    of_class = _profiles(rows, classes[used], count, len(drawn)).T
    tables = [_profiles(rows, np.minimum(one[used], MOST_VALUES), None, len(drawn)) for one in levels]
    borders = np.cumsum([0, *(table.shape[1] for table in tables)])
    values = np.concatenate(tables, 1)
    expected = of_class.sum(1)[:, None] * values.sum(0) / len(drawn)
    weights = np.divide(1.0, expected, where=expected > 0, out=np.zeros_like(expected))
    present = int((of_class.sum(1) > 0).sum())
    freedom = np.array([max((present - 1) * (int((table.sum(0) > 0).sum()) - 1), 1) for table in tables])

    def statistic(order: NDArray[np.int64]) -> NDArray[np.float64]:
        """Orders (p, units) → (p,)."""
        met = of_class @ values[order]
        cells = ((met - expected) ** 2 * weights).sum(1)
        sums = np.stack([cells[:, low:high].sum(1) for low, high in pairwise(borders)])
        largest: NDArray[np.float64] = ((sums - freedom[:, None]) / np.sqrt(2 * freedom[:, None])).max(0)
        return largest

    here = np.arange(len(drawn))[None]

    def draws(number: int) -> NDArray[np.float64]:
        return statistic(rng.permuted(np.tile(here, (number, 1)), axis=1))[None]

    return float(drawn_p_values(statistic(here), draws, permutations=permutations)[0])


def _profiles(rows: NDArray[np.int64], values: NDArray[np.int64], width: int | None, units: int) -> NDArray[np.float32]:
    """Share of each value within each unit, (units, values)."""
    found = np.zeros((units, int(values.max()) + 1 if width is None else width), dtype=np.float32)
    np.add.at(found, (rows, values), 1)
    return found / found.sum(1, keepdims=True)
