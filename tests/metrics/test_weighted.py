"""Figures as functions of weights: the same as the plain figures of rows repeated that often."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from snellen.core.errors import InputError
from snellen.metrics.auroc import auroc, macro_auroc
from snellen.metrics.calibration import expected_calibration_error
from snellen.metrics.classification import ConfusionCounts
from snellen.metrics.weighted import (
    WeightedStatistic,
    weighted_auroc,
    weighted_balanced_accuracy,
    weighted_calibration_error,
    weighted_kolmogorov_distance,
    weighted_macro_auroc,
    weighted_mean,
    weighted_total_variation,
)

GENERATOR = np.random.default_rng(0)
N = 60
LABELS = GENERATOR.integers(0, 3, N)
GUESSES = np.where(GENERATOR.random(N) < 0.6, LABELS, GENERATOR.integers(0, 3, N))
SCORES = GENERATOR.integers(0, 6, (N, 3)) / 5  # many ties, and 0 and 1
RIGHT = GUESSES == LABELS

#: The first images are one set, the others another one.
FIRST = 25


def _distribution_distance(rows: np.ndarray) -> float:
    """Largest difference of the shares up to each value that occurs."""
    before, after = SCORES[rows[rows < FIRST], 1], SCORES[rows[rows >= FIRST], 1]
    if not len(before) * len(after):
        return math.nan
    return max(abs(float((before <= value).mean() - (after <= value).mean())) for value in SCORES[rows, 1])


def _shares_distance(rows: np.ndarray) -> float:
    """Half of the sum of the differences of the shares of the classes."""
    before, after = LABELS[rows[rows < FIRST]], LABELS[rows[rows >= FIRST]]
    if not len(before) * len(after):
        return math.nan
    return sum(abs(float((before == label).mean() - (after == label).mean())) for label in range(3)) / 2


FIGURES: dict[str, tuple[WeightedStatistic, Callable[[np.ndarray], float]]] = {
    "mean": (weighted_mean(SCORES[:, 0]), lambda rows: float(SCORES[rows, 0].mean())),
    "balanced accuracy": (
        weighted_balanced_accuracy(LABELS, RIGHT),
        lambda rows: ConfusionCounts.of(LABELS[rows], GUESSES[rows], 3).balanced_accuracy,
    ),
    "calibration error": (
        weighted_calibration_error(SCORES[:, 0], RIGHT, bins=10),
        lambda rows: expected_calibration_error(SCORES[rows, 0], RIGHT[rows], bins=10),
    ),
    "auroc": (weighted_auroc(RIGHT, SCORES[:, 0]), lambda rows: auroc(RIGHT[rows], SCORES[rows, 0])),
    "distance of distributions": (
        weighted_kolmogorov_distance(SCORES[:FIRST, 1], SCORES[FIRST:, 1]),
        _distribution_distance,
    ),
    "distance of shares": (weighted_total_variation(LABELS[:FIRST], LABELS[FIRST:]), _shares_distance),
    "macro auroc": (weighted_macro_auroc(LABELS, SCORES), lambda rows: macro_auroc(LABELS[rows], SCORES[rows]).value),
}


@pytest.mark.parametrize("name", FIGURES)
def test_weights_are_repeated_rows(name: str) -> None:
    weighted, plain = FIGURES[name]
    generator = np.random.default_rng(1)
    for high in (1, 2, 4):
        for _ in range(20):
            weights = generator.integers(0, high + 1, N)
            if not weights.any():
                continue
            assert weighted(weights.astype(float)) == pytest.approx(plain(np.repeat(np.arange(N), weights)), abs=1e-12)
    assert weighted(np.full(N, 0.3)) == pytest.approx(plain(np.arange(N)), abs=1e-12)


@pytest.mark.parametrize("name", FIGURES)
def test_no_weight_no_figure(name: str) -> None:
    assert math.isnan(FIGURES[name][0](np.zeros(N)))


def test_classes_without_weight() -> None:
    only_two = (LABELS == 2).astype(float)
    assert FIGURES["balanced accuracy"][0](only_two) == pytest.approx(RIGHT[LABELS == 2].mean())
    assert math.isnan(FIGURES["macro auroc"][0](only_two))


def test_what_cannot_be_used() -> None:
    for call in (
        lambda: weighted_mean([1, math.nan]),
        lambda: weighted_balanced_accuracy([0, -1], [1, 1]),
        lambda: weighted_balanced_accuracy([0, 1], [1]),
        lambda: weighted_calibration_error([1.5], [1]),
        lambda: weighted_calibration_error([0.5], [1], bins=0),
        lambda: weighted_auroc([0, 2], [0.1, 0.2]),
        lambda: weighted_auroc([0, 1], [0.1, math.nan]),
        lambda: weighted_macro_auroc([0, 1], [0.1, 0.2]),
    ):
        with pytest.raises(InputError, match="got"):
            call()
