"""Errors of some images beside those of the rest."""

import numpy as np
import pytest

from snellen.auditing.gaps import error_gap
from snellen.metrics.exact_test import fisher_greater
from snellen.metrics.intervals import newcombe_difference


def test_independent_images_are_counted():
    wrong, member = np.array([1, 1, 1, 0, 0, 0, 0, 1], dtype=bool), np.arange(8) < 4
    gap = error_gap(wrong, member)
    assert (gap.inside, gap.outside, gap.inside_n, gap.outside_n) == (0.75, 0.25, 4, 4)
    assert gap.p_value == fisher_greater(3, 4, 1, 4)
    assert gap.lower(0.95) == pytest.approx(newcombe_difference(3, 4, 1, 4, 0.9).low)
    assert gap.harm(0.95) == max(gap.lower(0.95), 0) / 2


def test_nobody_to_compare_with():
    for member in (np.zeros(3, dtype=bool), np.ones(3, dtype=bool)):
        assert error_gap(np.zeros(3, dtype=bool), member) is None


def test_images_of_a_unit_prove_no_more_than_the_unit():
    rng = np.random.default_rng(0)
    alone, by_unit = 0, 0
    for _ in range(200):
        units = np.repeat(np.arange(60), 8)
        wrong = np.repeat(rng.random(60) < 0.2, 8)
        member = units < 20
        alone += error_gap(wrong, member).p_value < 0.05
        by_unit += error_gap(wrong, member, units).p_value < 0.05
    assert alone > 30, "eight copies of each decision are taken for eight decisions"
    assert by_unit <= 17, "5 % of 200 are 10, with a standard error of 3.1"


def test_a_gap_over_units_is_found():
    rng = np.random.default_rng(1)
    units = np.repeat(np.arange(100), 5)
    wrong = rng.random(500) < np.where(units < 30, 0.5, 0.05)
    gap = error_gap(wrong, units < 30, units)
    assert gap.p_value < 1e-6
    assert 0.25 < gap.lower(0.95) < gap.inside - gap.outside == pytest.approx(0.45, abs=0.1)


def test_harm_is_the_bound_times_the_share_concerned():
    wrong = np.array([True] * 30 + [False] * 20 + [True] * 5 + [False] * 145)
    gap = error_gap(wrong, np.arange(200) < 50)
    assert gap.lower(0.95) > 0.3
    assert gap.harm(0.95) == pytest.approx(gap.lower(0.95) / 4)
