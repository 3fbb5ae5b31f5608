"""Sizes of equal success."""

import math

import pytest

from snellen.core.errors import InputError
from snellen.methods.attacks.calibrated_strength import calibrate


@pytest.mark.covers("16.2")
@pytest.mark.parametrize("start", [1e-3, 0.2, 1.0, 300.0])
@pytest.mark.parametrize("wanted", [0.5, 0.9, 0.95])
def test_the_success_is_within_a_point_wherever_the_search_starts(start, wanted):
    tried = []

    def success_at(size):
        tried.append(size)
        return 1 / (1 + math.exp(-3 * math.log(size / 0.7)))

    found = calibrate(success_at, wanted=wanted, start=start, most=25)
    assert found.reached
    assert abs(found.success - wanted) <= 0.01
    assert found.evaluations == len(tried)
    assert abs(success_at(found.epsilon) - found.success) < 1e-12


def test_where_success_jumps_the_least_size_above_is_taken():
    found = calibrate(lambda size: float(size >= 0.4), wanted=0.95, start=0.01, most=40)
    assert found.success == 1
    assert 0.4 <= found.epsilon <= 0.41
    assert found.reached


def test_what_is_out_of_reach_is_said():
    assert calibrate(lambda _: 0.3, wanted=0.95, start=0.1, most=6) == (0.1, 0.3, 6, False)
    capped = calibrate(lambda size: 0.5 * size, wanted=0.95, start=0.3, ceiling=1.0)
    assert capped.epsilon == 1.0
    assert not capped.reached
    few = calibrate(lambda size: size / (1 + size), wanted=0.95, start=1e-4, most=3)
    assert (few.evaluations, few.reached) == (3, False)


def test_values_out_of_range_are_refused():
    for wrong in ({"wanted": 0.0}, {"wanted": 1.2}, {"start": 0.0}, {"most": 1}, {"tolerance": 1.0}):
        with pytest.raises(InputError, match="a calibration takes 0 < wanted"):
            calibrate(lambda size: size, **{"wanted": 0.9, "start": 0.1, **wrong})
