"""Medians of distances, some only known to be larger than all others."""

import math

import numpy as np
import pytest

from snellen.core.errors import InputError
from snellen.metrics.censored_median import censored_median


def test_without_failures_it_is_the_lower_median():
    values = np.random.default_rng(0).random(101)
    assert censored_median(values).value == np.median(values)


def test_the_interval_holds_the_truth_as_often_as_it_says():
    # Exponential distances, cut off where 70 % are found; the median is ln 2.
    rng, held = np.random.default_rng(1), 0
    for _ in range(400):
        values = rng.exponential(size=60)
        values[values > -math.log(0.3)] = math.inf
        _, low, high = censored_median(values)
        held += low <= math.log(2) <= high
    assert 0.92 <= held / 400 <= 0.99


def test_units_widen_the_interval():
    rng = np.random.default_rng(2)
    values = np.repeat(rng.random(30), 8)
    units = np.repeat(np.arange(30), 8)
    alone, together = censored_median(values), censored_median(values, units)
    assert together.value == alone.value
    assert together.low < alone.low
    assert together.high > alone.high


def test_more_failures_than_successes_leave_it_unbounded():
    assert censored_median([0.1, 0.2, math.inf, math.inf, math.inf]).value == math.inf
    assert censored_median([0.1, 0.2, 0.3, math.inf]).high == math.inf


@pytest.mark.parametrize("values", [[], [math.nan], [[0.1]]])
def test_what_has_no_median_is_refused(values):
    with pytest.raises(InputError, match="a median needs values"):
        censored_median(values)
