"""Fisher's exact test, against integers: no rounding before the last division."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from snellen.core.errors import InputError
from snellen.metrics.exact_test import fisher_greater


def exact(first, first_n, second, second_n):
    marked = first + second
    ways = sum(
        math.comb(first_n, count) * math.comb(second_n, marked - count)
        for count in range(first, min(first_n, marked) + 1)
    )
    return ways / math.comb(first_n + second_n, marked)


@given(first=st.integers(0, 40), more=st.integers(0, 40), second=st.integers(0, 200), rest=st.integers(0, 200))
def test_equals_the_count_of_ways(first, more, second, rest):
    counts = first, first + more, second, second + rest
    assert fisher_greater(*counts) == pytest.approx(exact(*counts), rel=1e-12)


def test_equals_the_count_of_ways_for_many_images():
    for counts in ((900, 2000, 800, 2000), (30, 3000, 5, 4000), (1999, 2000, 1960, 2000)):
        assert fisher_greater(*counts) == pytest.approx(exact(*counts), rel=1e-12)


def test_counts_out_of_range():
    with pytest.raises(InputError, match="5 successes of 4"):
        fisher_greater(5, 4, 0, 1)
