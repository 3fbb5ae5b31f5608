"""Do intervals by unit hold the truth as often as they say? Simulation with units of 1 and of 8 dependent images."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from snellen.metrics.clustered import ClusteredMean, clustered_difference, clustered_mean, clustered_share
from snellen.metrics.incomplete_beta import student_t_probability

REPETITIONS = 2000
CORRELATION = 0.3
#: One point, and three standard errors of the simulation.
TOLERANCE = 0.01 + 3 * math.sqrt(0.95 * 0.05 / REPETITIONS)


def codes(units: int, size: int) -> np.ndarray:
    return np.repeat(np.arange(units), size)


def shares_of_units(generator: np.random.Generator, mean: np.ndarray, units: int, size: int) -> np.ndarray:
    """Probabilities of the outcomes in each unit, (repetitions, units, outcomes): beta-binomial counts for two."""
    if size == 1:
        return np.broadcast_to(mean, (REPETITIONS, units, len(mean)))
    return generator.dirichlet(mean * (1 / CORRELATION - 1), (REPETITIONS, units))


def outcomes(generator: np.random.Generator, mean: list[float], units: int, size: int) -> np.ndarray:
    """Which outcome each image has, (repetitions, images)."""
    edges = shares_of_units(generator, np.array(mean), units, size)[..., :-1].cumsum(-1)
    drawn = generator.random((REPETITIONS, units, size))
    return (drawn[..., None] > edges[:, :, None, :]).sum(-1).reshape(REPETITIONS, -1)


def coverage(results: list[ClusteredMean], truth: float) -> float:
    # By the tail at the truth: as the interval, without a quantile for each repetition's degrees of freedom.
    tails = [
        student_t_probability(abs(one.value - truth) / one.standard_error, one.degrees_of_freedom) for one in results
    ]
    return float(np.mean(np.array(tails) >= 0.025))


@pytest.mark.parametrize(("units", "size", "share"), [
    (400, 1, 0.5), (400, 1, 0.8), (400, 1, 0.95), (60, 8, 0.5), (60, 8, 0.8), (60, 8, 0.95), (150, 8, 0.95),
])  # fmt: skip
def test_share(units: int, size: int, share: float) -> None:
    correct = outcomes(np.random.default_rng(0), [share, 1 - share], units, size) == 0
    by_unit = codes(units, size)
    intervals = np.array([clustered_share(one, by_unit) for one in correct])
    covered = np.mean((intervals[:, 0] <= share) & (share <= intervals[:, 1]))
    assert abs(covered - 0.95) <= TOLERANCE
    if size > 1:
        ignoring = np.array([clustered_share(one) for one in correct[:500]])
        assert np.mean((ignoring[:, 0] <= share) & (share <= ignoring[:, 1])) < 0.8


@pytest.mark.parametrize(("units", "size"), [(200, 1), (60, 8)])
@pytest.mark.parametrize("pseudo_units", [0.0, 1.0])
def test_mean_of_losses(units: int, size: int, pseudo_units: float) -> None:
    values = np.array([1.0, -1.0, 0.0])[outcomes(np.random.default_rng(1), [0.2, 0.1, 0.7], units, size)]
    results = [clustered_mean(one, codes(units, size), pseudo_units=pseudo_units) for one in values]
    assert abs(coverage(results, 0.1) - 0.95) <= TOLERANCE


@pytest.mark.parametrize(("units", "size"), [(200, 1), (60, 8)])
def test_false_alarms_of_losses_that_cancel(units: int, size: int) -> None:
    values = np.array([1.0, -1.0, 0.0])[outcomes(np.random.default_rng(2), [0.1, 0.1, 0.8], units, size)]
    results = [clustered_mean(one, codes(units, size), pseudo_units=1) for one in values]
    alarms = np.mean([one.p_value() < 0.05 for one in results])
    assert 0.025 <= alarms <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / REPETITIONS)


@pytest.mark.parametrize(("units", "size", "group"), [
    (300, 1, "units"), (100, 8, "units"), (100, 8, "images"),
])  # fmt: skip
def test_gap_of_a_group_against_the_rest(units: int, size: int, group: str) -> None:
    generator = np.random.default_rng(3)
    wrong = (outcomes(generator, [0.3, 0.7], units, size) == 0).astype(float)
    by_unit = codes(units, size)
    gaps: dict[str, Callable[[], np.ndarray]] = {
        "units": lambda: by_unit < units // 4,
        "images": lambda: generator.random(units * size) < 0.25,
    }
    plain, added = [], []
    for values in wrong:
        inside = gaps[group]()
        parts = values[inside], values[~inside], by_unit[inside], by_unit[~inside]
        plain.append(clustered_difference(*parts))
        added.append(clustered_difference(*parts, pseudo_units=1))
    assert abs(coverage(plain, 0.0) - 0.95) <= TOLERANCE
    assert abs(coverage(added, 0.0) - 0.95) <= TOLERANCE


def test_uneven_units_are_covered_nearly_as_well() -> None:
    generator = np.random.default_rng(4)
    covered = []
    for _ in range(REPETITIONS):
        sizes = np.maximum(1, generator.lognormal(1, 1.2, 60).round()).astype(int)
        by_unit = np.repeat(np.arange(60), sizes)
        common = generator.random(60) < 0.5
        values = np.where(generator.random(len(by_unit)) < 0.55, common[by_unit], generator.random(len(by_unit)) < 0.5)
        covered.append(clustered_mean(values, by_unit))
    assert 0.925 <= coverage(covered, 0.5) <= 0.96
