"""The jackknife over units, against leaving each out in turn."""

from __future__ import annotations

import math

import numpy as np
import pytest

from snellen.metrics.unit_jackknife import design_effect, effective_units, unit_influence, unit_sums


def test_influence_is_what_leaving_out_does() -> None:
    generator = np.random.default_rng(0)
    codes = generator.integers(0, 6, 40)
    values = generator.normal(size=40)
    mean = values.mean()
    influence = unit_influence(*unit_sums(values, codes), mean)
    for unit in range(6):
        moved = mean - values[codes != unit].mean()
        assert influence[unit] == pytest.approx(math.sqrt(5 / 6) * moved, rel=1e-12)


def test_influence_of_equal_sizes_is_the_textbook_variance() -> None:
    sums = np.array([3.0, 1.0, 0.0, 4.0])
    variance = (unit_influence(sums, np.full(4, 5.0), 0.4) ** 2).sum()
    assert variance == pytest.approx(4 / 3 * ((sums - 2) ** 2).sum() / 20**2, rel=1e-12)


def test_absent_units_do_not_count_and_a_single_one_tells_nothing() -> None:
    sums, sizes = unit_sums(np.array([1.0, 0.0, 0.0]), np.array([0, 0, 2]), 5)
    assert (sums.tolist(), sizes.tolist()) == ([1, 0, 0, 0, 0], [2, 0, 1, 0, 0])
    influence = unit_influence(sums, sizes, 1 / 3)
    assert influence[[1, 3, 4]].tolist() == [0, 0, 0]
    assert influence[0] == pytest.approx(math.sqrt(0.5) * (1 - 2 / 3) / 1)
    assert unit_influence(np.array([2.0, 0.0]), np.array([2.0, 0.0]), 1.0).tolist() == [math.inf, 0]


def test_effective_units() -> None:
    assert effective_units(np.ones(7)) == 7
    assert effective_units(np.full(3, 8.0)) == 3
    assert effective_units(np.array([100.0, 1.0])) == pytest.approx(101**2 / 10001)


def test_design_effect_by_hand() -> None:
    # Sums 2, 1, 0 of units of 2: V = 3/2 (1 + 0 + 1) = 3, B = 6 · 6/5 · 1/4 = 1.8, c = 2.
    codes = np.array([0, 0, 4, 4, 2, 2])
    assert design_effect(np.array([1.0, 1, 1, 0, 0, 0]), codes) == pytest.approx((3 + 2) / (1.8 + 1))
    # Units that are all alike on average: never below 1.
    assert design_effect(np.tile([1.0, 0.0], 50), np.repeat(np.arange(50), 2)) == 1
    assert design_effect(np.array([1.0, 0.0]), np.array([3, 1])) == 1
    assert design_effect(np.array([1.0, 0.0, 1.0]), np.array([3, 3, 3])) == 3


def test_design_effect_of_many_units_is_that_of_their_correlation() -> None:
    generator = np.random.default_rng(0)
    codes = np.repeat(np.arange(4000), 8)
    values = (generator.random(32000) < generator.beta(7 / 6, 7 / 6, 4000)[codes]).astype(float)
    assert design_effect(values, codes) == pytest.approx(1 + 7 * 0.3, rel=0.05)
