"""Accuracy on images without labels, from labelled ones of another mix: two assumptions, and a check of each.

**Other mix of classes** (label shift): the images of a class look as they did, and the classes have other shares. The
shares q come from what the model decides: of K classes and cells c (decision, and how sure it is), the audited images
give P(c | k), and q maximises Σ_c n_c log Σ_k q_k P(c | k), by expectation maximisation (Saerens, Latinne and
Decaestecker, Neural Computation 14, 2002; with the outputs made discrete as by Lipton, Wang and Smola, ICML 2018). The
accuracy is Σ_k q_k · recall_k.

**Other mix of easy and hard images** (covariate shift): equal confidences are equally often right. The accuracy is
that of the audited images at each confidence, averaged over the confidences of the new ones.

No estimate holds under every shift. Each comes with a test of whether the new decisions can be such a mix.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from snellen.core.errors import InputError
from snellen.metrics.intervals import Interval
from snellen.metrics.units import dense_codes

#: Levels of confidence within the images of one decision, and of all together.
CELL_LEVELS, LEVELS = 3, 10

#: Steps of the search for the shares of classes; a step that changes no share by more ends it.
_STEPS, _ENOUGH = 300, 1e-5

#: Classes beyond which a decision is one cell for every confidence.
_MANY = 100


@dataclass(frozen=True, eq=False)
class Decisions:
    """What a model decided on n images.

    Attributes:
        predictions: (n,), in 0 … K − 1.
        confidence: (n,), largest probability.
        units: (n,), code of each image's unit; None: each is its own.
        labels: (n,); None without labels.
    """

    predictions: NDArray[np.int64]
    confidence: NDArray[np.float64]
    units: NDArray[np.int64] | None = None
    labels: NDArray[np.int64] | None = None

    @property
    def correct(self) -> NDArray[np.bool_]:
        """Whether each decision is right, (n,)."""
        assert self.labels is not None
        return self.predictions == self.labels

    def __len__(self) -> int:
        return len(self.predictions)


@dataclass(frozen=True, eq=False)
class ShiftedAccuracy:
    """The accuracy on images without labels.

    Attributes:
        value: middle of the two estimates.
        interval: 95 %, both intervals together: it holds where either assumption does.
        by_classes: estimate and interval under another mix of classes.
        by_confidence: the same under another mix of easy and hard images.
        shares: (K,), estimated shares of the classes.
        fit_p_value: of "the decisions are a mix of the audited classes".
    """

    value: float
    interval: Interval
    by_classes: tuple[float, Interval]
    by_confidence: tuple[float, Interval]
    shares: NDArray[np.float64]
    fit_p_value: float


def shifted_accuracy(
    audited: Decisions, new: Decisions, classes: int, *, resamples: int = 200, draws: int = 199, seed: int = 0
) -> ShiftedAccuracy:
    """Estimate the accuracy on new images.

    The variance is that of the bootstrap over the units of both sets, with the chance of the new images' own decisions;
    intervals are score intervals with the effective number of images that it implies, as for shares of units.

    >>> rng = np.random.default_rng(0)
    >>> labels = rng.integers(0, 3, 2000)
    >>> right = rng.random(2000) < np.array([0.95, 0.9, 0.7])[labels]
    >>> predictions = np.where(right, labels, (labels + 1) % 3)
    >>> old = Decisions(predictions, np.where(right, 0.9, 0.6), labels=labels)
    >>> rare = labels == 2
    >>> kept = ~rare | (rng.random(2000) < 0.1)
    >>> found = shifted_accuracy(old, Decisions(predictions[kept], old.confidence[kept]), 3, resamples=100)
    >>> found.interval.low < right[kept].mean() < found.interval.high
    np.True_

    Args:
        audited: with labels. new: without. classes: K. resamples: of the bootstrap.
        draws: simulated sets behind the p value of the fit. seed: of both.

    Raises:
        InputError: too few images in a set.
    """
    if len(audited) < 20 or len(new) < 20:
        raise InputError(
            f"an estimate of the accuracy without labels takes 20 images or more in each set, got {len(audited)} "
            f"audited and {len(new)} new ones"
        )
    rng = np.random.default_rng(seed)
    grid = _Cells.of(audited, classes)
    old_cells, new_cells = grid.of_images(audited), grid.of_images(new)
    level = _levels(audited.confidence, LEVELS)
    old_level, new_level = (np.searchsorted(level, one.confidence, side="right") for one in (audited, new))
    correct = audited.correct.astype(np.float64)
    assert audited.labels is not None
    labels = audited.labels

    def estimates(old: NDArray[np.float64], young: NDArray[np.float64]) -> tuple[float, float, NDArray[np.float64]]:
        given = grid.given_class(old_cells, labels, old)
        counts = np.bincount(new_cells, young, minlength=grid.count).astype(np.float64)
        shares = class_shares(given, counts, begun)
        recalls = _recalls(labels, correct, old, classes)
        at = np.bincount(old_level, old * correct, minlength=LEVELS)
        size = np.bincount(old_level, old, minlength=LEVELS)
        overall = float(at.sum() / size.sum())
        # One image's worth of belief in the accuracy of all, for levels that have no image.
        accuracies = (at + overall) / (size + 1)
        seen = np.bincount(new_level, young, minlength=LEVELS)
        return float(shares @ recalls), float(accuracies @ seen / seen.sum()), shares

    begun: NDArray[np.float64] | None = None
    by_classes, by_confidence, shares = estimates(np.ones(len(audited)), np.ones(len(new)))
    begun = shares
    codes = [dense_codes(one.units, len(one)) for one in (audited, new)]
    old_units, new_units = (int(one.max()) + 1 for one in codes)
    drawn = np.array([estimates(*(_resampled(one, rng) for one in codes))[:2] for _ in range(resamples)])
    spread = drawn.var(axis=0, ddof=1)
    ends = []
    for value, variance in zip((by_classes, by_confidence), spread, strict=True):
        ends.append(_score(value, float(variance) + value * (1 - value) / new_units, min(old_units, new_units)))
    fit = _fit(grid, old_cells, labels, new_cells, shares, rng, len(new) / new_units, draws)
    low, high = min(one.low for one in ends), max(one.high for one in ends)
    return ShiftedAccuracy(
        (by_classes + by_confidence) / 2,
        Interval(low, high),
        (by_classes, ends[0]),
        (by_confidence, ends[1]),
        shares,
        fit,
    )


def class_shares(
    given: NDArray[np.float64], counts: NDArray[np.float64], start: NDArray[np.float64] | None = None
) -> NDArray[np.float64]:
    """Shares of classes that make cells most probable: P(c | k) (K, C), counts (C,) → (K,).

    ``start``: shares (K,) to begin from, such as those of a set that is nearly the same.

    >>> class_shares(np.array([[0.9, 0.1], [0.2, 0.8]]), np.array([55.0, 45.0])).round(3).tolist()
    [0.5, 0.5]
    """
    shares = np.full(len(given), 1 / len(given))
    if start is not None:  # and no share is 0, which would stay so
        shares = 0.95 * start + 0.05 * shares
    weights = counts / counts.sum()
    seen = weights > 0
    given, weights = given[:, seen], weights[seen]
    for _ in range(_STEPS):
        mixed = shares @ given
        after = shares * (given @ (weights / np.maximum(mixed, 1e-300)))
        after /= after.sum()
        if np.abs(after - shares).max() < _ENOUGH:
            return after
        shares = after
    return shares


@dataclass(frozen=True, eq=False)
class _Cells:
    """Decisions parted by confidence: the edges of each decision, (K, levels − 1)."""

    edges: NDArray[np.float64]
    classes: int

    @classmethod
    def of(cls, audited: Decisions, classes: int) -> _Cells:
        levels = CELL_LEVELS if classes <= _MANY else 1
        edges = np.full((classes, levels - 1), np.inf)
        for decision in range(classes if levels > 1 else 0):
            sure = audited.confidence[audited.predictions == decision]
            if len(sure) >= 10 * levels:
                edges[decision] = _levels(sure, levels)
        return cls(edges, classes)

    @property
    def count(self) -> int:
        return self.classes * (self.edges.shape[1] + 1)

    def of_images(self, images: Decisions) -> NDArray[np.int64]:
        level = (images.confidence[:, None] >= self.edges[images.predictions]).sum(1)
        return (images.predictions * (self.edges.shape[1] + 1) + level).astype(np.int64)

    def given_class(
        self, cells: NDArray[np.int64], labels: NDArray[np.int64], weights: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """P(c | k) (K, C), with a belief of one image in the cells of all classes; 0 for a class without images."""
        table = np.bincount(labels * self.count + cells, weights, minlength=self.classes * self.count).astype(
            np.float64
        )
        return _believed(table.reshape(self.classes, self.count))


def _believed(table: NDArray[np.float64]) -> NDArray[np.float64]:
    """P(c | k) from numbers of images (K, C), as :meth:`_Cells.given_class` has it."""
    sizes = table.sum(1, keepdims=True)
    whole = (table.sum(0) + 1e-3) / (table.sum() + 1e-3 * table.shape[1])
    return np.where(sizes > 0, (table + whole) / (sizes + 1), 0.0)


def _levels(confidence: NDArray[np.float64], count: int) -> NDArray[np.float64]:
    """Edges between levels of about as many images, (count − 1,)."""
    return np.quantile(confidence, np.arange(1, count) / count)


def _recalls(
    labels: NDArray[np.int64], correct: NDArray[np.float64], weights: NDArray[np.float64], classes: int
) -> NDArray[np.float64]:
    right, sizes = (
        np.bincount(labels, weights * correct, minlength=classes),
        np.bincount(labels, weights, minlength=classes),
    )
    return np.divide(right, sizes, out=np.zeros(classes), where=sizes > 0)


def _resampled(codes: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.float64]:
    """How often each image is drawn when whole units are, (n,)."""
    units = int(codes.max()) + 1
    return np.bincount(rng.integers(0, units, units), minlength=units)[codes].astype(np.float64)


def _score(share: float, variance: float, most: int) -> Interval:
    """Score interval of a share with the number of images that a variance implies, at most so many."""
    z = NormalDist().inv_cdf(0.975)
    spread = share * (1 - share)
    n = min(spread / variance, most) if variance > 0 and spread > 0 else float(most)
    square = z * z / n
    centre = (share + square / 2) / (1 + square)
    half = z / (1 + square) * math.sqrt(spread / n + square / (4 * n))
    return Interval(max(centre - half, 0.0), min(centre + half, 1.0))


def _fit(
    grid: _Cells,
    old_cells: NDArray[np.int64],
    labels: NDArray[np.int64],
    new_cells: NDArray[np.int64],
    shares: NDArray[np.float64],
    rng: np.random.Generator,
    size: float,
    draws: int,
) -> float:
    """P value of "the new decisions are a mix of the audited classes", by simulation of both sets.

    ``size``: images of a new unit; the statistic counts that many less, as if all of a unit were alike.
    """
    ones = np.ones(len(labels))
    given = grid.given_class(old_cells, labels, ones)
    counts = np.bincount(new_cells, minlength=grid.count) / size

    def distance(table: NDArray[np.float64], seen: NDArray[np.float64]) -> float:
        found = class_shares(table, seen, shares)
        expected = found @ table * seen.sum()
        return float(((seen - expected) ** 2 / (expected + 0.5)).sum())

    measured, total = distance(given, counts), max(round(counts.sum()), 1)
    sizes = np.bincount(labels, minlength=grid.classes)
    mixed = shares @ given
    mixed = mixed / mixed.sum()
    cells = given / np.where(sizes > 0, given.sum(1), 1.0)[:, None]
    beyond = 0
    for _ in range(draws):
        # The audited classes are known from as many images as they have.
        again = _believed(rng.multinomial(sizes, cells).astype(np.float64))
        beyond += distance(again, rng.multinomial(total, mixed).astype(np.float64)) >= measured
    return (1 + beyond) / (1 + draws)
