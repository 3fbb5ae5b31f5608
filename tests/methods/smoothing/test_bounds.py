"""The radius is exact: attained by half-spaces, never above it; bounds are those of Clopper and Pearson."""

import math
from statistics import NormalDist

import numpy as np
import pytest

from snellen.core.errors import InputError
from snellen.methods.smoothing.bounds import (
    largest_radius,
    lower_bound,
    proven_radius,
    published_radius,
    quantile,
    upper_bound,
)

CDF = NormalDist().cdf


@pytest.mark.covers("13.2")
@pytest.mark.parametrize(
    ("a", "b", "radius"),
    [(3, 3, 4.243), (3, 0.01, 2.128), (3, -2, 0.707), (1, -1.5, None), (0.5, -0.5, None)],
)
def test_the_radius_of_two_parts_keeps_negative_quantiles(a, b, radius):
    found = proven_radius([CDF(a), CDF(b)], 1.0)
    if radius is None:
        assert found <= 1e-9
    else:
        assert found == pytest.approx(radius, abs=6e-4)
    assert proven_radius([CDF(a), CDF(b)], 0.3) == pytest.approx(0.3 * (a + b) / math.sqrt(2), abs=1e-9)


@pytest.mark.covers("13.3")
@pytest.mark.parametrize(("a", "b"), [(3, 3), (3, 0.01), (3, -2), (0.4, 0.1), (2.5, -2.4), (-0.5, 1.7)])
def test_half_spaces_attain_the_radius_and_break_anything_larger(a, b):
    radius, sigma = proven_radius([CDF(a), CDF(b)], 0.5), 0.5
    angles = np.linspace(0, np.pi / 2, 20001)

    def worst(length):
        return min(CDF(a - length * math.cos(u) / sigma) + CDF(b - length * math.sin(u) / sigma) for u in angles[::20])

    assert worst(radius * (1 - 1e-4)) > 1
    assert worst(radius) >= 1 - 1e-7
    assert worst(radius * (1 + 1e-3)) < 1


@pytest.mark.covers("13.3")
@pytest.mark.parametrize(("a", "b"), [(3, 0.01), (3, -2), (2, 1)])
def test_half_spaces_break_the_published_radius(a, b):
    claimed = published_radius([CDF(a), CDF(b)], 1.0)
    assert claimed > proven_radius([CDF(a), CDF(b)], 1.0)
    angles = np.linspace(0, np.pi / 2, 2001)
    assert min(CDF(a - claimed * math.cos(u)) + CDF(b - claimed * math.sin(u)) for u in angles) < 1


def test_the_published_formula_as_it_stands():
    assert published_radius([CDF(3), CDF(0.01)], 1.0) == pytest.approx(3.0, abs=1e-4)
    assert published_radius([CDF(3), CDF(-2)], 1.0) == pytest.approx(3.0, abs=1e-9)
    assert published_radius([CDF(1), CDF(1)], 2.0) == pytest.approx(proven_radius([CDF(1), CDF(1)], 2.0))


@pytest.mark.covers("13.4")
def test_unanimous_votes_have_the_closed_bound():
    for n in (1, 200, 10_000, 100_000):
        assert lower_bound(n, n, 0.0005) == 0.0005 ** (1 / n)
    rounded = {200: (1.826, 1.783), 10_000: (3.199, 3.171), 100_000: (3.811, 3.788)}
    for n, (plain, dual) in rounded.items():
        assert largest_radius(1, n, 0.001, 1.0) == pytest.approx(plain, abs=6e-4)
        assert largest_radius(2, n, 0.001, 1.0) / math.sqrt(2) == pytest.approx(dual, abs=6e-4)


@pytest.mark.parametrize("votes", [0, 1, 37, 80, 99, 100])
def test_bounds_invert_the_binomial_tail(votes):
    n, level = 100, 0.01
    low, high = lower_bound(votes, n, level), upper_bound(votes, n, level)
    assert 0 <= low <= votes / n <= high <= 1

    def at_least(k, p):
        return sum(math.comb(n, i) * p**i * (1 - p) ** (n - i) for i in range(k, n + 1))

    if votes:
        assert at_least(votes, low) == pytest.approx(level, rel=1e-6)
    else:
        assert low == 0
    if votes < n:
        assert 1 - at_least(votes + 1, high) == pytest.approx(level, rel=1e-6)
    else:
        assert high == 1


def test_no_vote_in_one_half_proves_nothing_whatever_the_other_says():
    assert proven_radius([1.0, 0.0], 1.0) != proven_radius([1.0, 0.5], 1.0)
    assert not proven_radius([lower_bound(0, 50, 0.01), lower_bound(50, 50, 0.01)], 1.0) > 0
    assert (quantile(0.0), quantile(1.0)) == (-math.inf, math.inf)


@pytest.mark.parametrize(("votes", "samples", "level"), [(-1, 5, 0.1), (6, 5, 0.1), (0, 0, 0.1), (1, 5, 0), (1, 5, 1)])
def test_counts_and_levels_out_of_range_are_refused(votes, samples, level):
    with pytest.raises(InputError):
        lower_bound(votes, samples, level)
