"""Intervals of areas (ROC, risk and coverage) and of coverage: they enclose, widen by unit, and hold."""

import numpy as np
import pytest
from scipy.stats import norm

from snellen.core.errors import InputError
from snellen.metrics.auroc import macro_auroc
from snellen.metrics.auroc_interval import macro_auroc_interval
from snellen.metrics.calibration import adaptive_calibration_error
from snellen.metrics.selective import RiskCoverage
from snellen.metrics.selective_intervals import area_interval, coverage_interval, least_images
from snellen.metrics.weighted import weighted_adaptive_calibration_error


def two_classes(rng, n, shift, units=None):
    """Labels and two columns of scores; images of a unit share a shift of their own."""
    labels = rng.integers(0, 2, n)
    shared = 0.0 if units is None else 0.8 * rng.normal(size=units.max() + 1)[units]
    score = rng.normal(size=n) * (1 if units is None else 0.6) + shared + shift * labels
    return labels, np.stack([-score, score], 1)


@pytest.mark.parametrize(("n", "area", "size"), [(40, 0.92, 1), (120, 0.75, 1), (200, 0.9, 8)])
def test_the_interval_of_the_area_holds(n, area, size):
    rng, missed = np.random.default_rng(n), 0
    units, shift = (np.arange(n) // size if size > 1 else None), norm.ppf(area) * 2**0.5
    for _ in range(200):
        low, high = macro_auroc_interval(*two_classes(rng, n, shift, units), units)
        missed += not low <= area <= high
    assert missed <= 20, "5 % of 200 are 10, with a standard error of 3.1"


def test_a_perfect_area_is_not_certain():
    labels = np.repeat([0, 1], 10)
    low, high = macro_auroc_interval(labels, np.eye(2)[labels])
    assert high == 1
    assert 0.6 < low < 0.95
    assert macro_auroc_interval(labels, np.eye(2)[labels], np.zeros(20, dtype=int)) == (0.0, 1.0)


def test_the_area_is_enclosed_and_units_widen():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 4, 80)
    scores = rng.normal(size=(80, 4)) + np.eye(4)[labels]
    low, high = macro_auroc_interval(labels, scores)
    assert low < macro_auroc(labels, scores).value < high
    rows = np.repeat(np.arange(80), 5)
    alone = macro_auroc_interval(labels[rows], scores[rows])
    by_unit = macro_auroc_interval(labels[rows], scores[rows], rows)
    assert by_unit.high - by_unit.low > 1.5 * (alone.high - alone.low)
    with pytest.raises(InputError):
        macro_auroc_interval(np.zeros(5, dtype=int), np.zeros((5, 2)))


@pytest.mark.parametrize(("n", "size"), [(100, 1), (320, 8)])
def test_the_interval_of_the_area_under_risk_holds(n, size):
    rng, missed = np.random.default_rng(n), 0
    # Error 1 − u/2 … of an image of confidence u, uniform: the area is ∫ E[error | u ≥ 1 − c] dc.
    grid = np.linspace(1, 0, 20_001)[:-1]
    risk = np.cumsum(0.4 * (1 - grid)) / np.arange(1, 20_001)
    truth = float(risk.mean())
    for _ in range(200):
        sure = np.repeat(rng.random(n // size), size)
        shared = np.repeat(rng.random(n // size), size) if size > 1 else rng.random(n)
        correct = (shared >= 0.4 * (1 - sure)).astype(bool)
        units = np.arange(n) // size if size > 1 else None
        low, high = area_interval(sure, correct, units)
        missed += not low <= truth <= high
    assert missed <= 20


def test_nobody_is_certain_of_an_area_or_a_coverage():
    sure = np.linspace(0.5, 1, 60)
    for correct in (np.ones(60, dtype=bool), np.zeros(60, dtype=bool)):
        low, high = area_interval(sure, correct)
        assert low <= RiskCoverage.of(sure, correct).area <= high
        assert high - low > 0.02
    low, high = coverage_interval(sure, np.ones(60, dtype=bool), 0.01)
    assert (low, high) == (0.0, 1.0), "sixty right images do not show a risk of 1 %"
    with pytest.raises(InputError):
        area_interval([], [])


def test_coverage_that_can_be_known():
    rng, missed = np.random.default_rng(0), 0
    for _ in range(60):
        sure = rng.random(3000)
        correct = rng.random(3000) >= np.where(sure > 0.5, 0.0, 0.3)
        low, high = coverage_interval(sure, correct, 0.05)
        missed += not low <= 0.6 <= high  # half without an error, then 0.3: 0.05 is reached at 0.6
    assert missed <= 7


def test_weights_of_one_give_the_adaptive_error():
    rng = np.random.default_rng(0)
    sure = np.round(rng.random(200), 2)
    correct = rng.random(200) < sure
    weighted = weighted_adaptive_calibration_error(sure, correct, 10)
    assert weighted(np.ones(200)) == pytest.approx(adaptive_calibration_error(sure, correct, 10))
    twice = weighted(np.full(200, 2.0))
    assert twice == pytest.approx(weighted(np.ones(200)))


@pytest.mark.parametrize("risk", [0.01, 0.05, 0.2])
def test_so_many_right_images_show_a_coverage_and_one_fewer_shows_none(risk):
    n = least_images(risk)
    lows = [coverage_interval(np.linspace(1, 0.5, count), np.ones(count, bool), risk).low for count in (n - 1, n)]
    assert lows == [0, 1]
