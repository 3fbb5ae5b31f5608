"""McNemar's exact test: counts of ways, published values, levels by enumeration."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from snellen.core.errors import InputError, UnknownNameError
from snellen.metrics.paired_test import Alternative, mcnemar

counts = st.integers(0, 300)


def exact(b: int, c: int, alternative: Alternative) -> float:
    """From integers: nothing is rounded before the last division."""
    above, below = (sum(math.comb(b + c, k) for k in range(seen, b + c + 1)) for seen in (b, c))
    ways = {"greater": above, "less": below, "two-sided": 2 * min(above, below)}[alternative]
    return min(ways / 2 ** (b + c), 1.0)


@pytest.mark.parametrize("alternative", ["two-sided", "greater", "less"])
def test_equals_the_count_of_ways(alternative: Alternative) -> None:
    for b, c in ((0, 0), (0, 1), (3, 3), (1, 8), (12, 4), (40, 61), (500, 430), (2_000, 2_300)):
        assert mcnemar(b, c, alternative=alternative) == pytest.approx(exact(b, c, alternative), rel=1e-12)


def test_mid_p_by_hand_and_published() -> None:
    # Fagerland, Lydersen and Laake (2013), section 4: 1 and 7 discordant pairs; 0.070 and 0.039.
    assert mcnemar(1, 7) == pytest.approx(0.0703125, rel=1e-12)
    assert mcnemar(1, 7, mid_p=True) == pytest.approx(0.0390625, rel=1e-12)
    assert mcnemar(7, 1, mid_p=True, alternative="greater") == pytest.approx((8 / 2 + 1) / 256)


@settings(deadline=None, max_examples=50)
@given(counts, counts)
def test_sides(b: int, c: int) -> None:
    greater, less = (mcnemar(b, c, alternative=side, mid_p=True) for side in ("greater", "less"))
    assert greater + less == pytest.approx(1, abs=1e-10)
    assert mcnemar(b, c, mid_p=True) == pytest.approx(2 * min(greater, less), abs=1e-10)
    assert (
        mcnemar(b, c)
        == mcnemar(c, b)
        == pytest.approx(
            min(1, 2 * min(mcnemar(b, c, alternative="greater"), mcnemar(b, c, alternative="less"))), abs=1e-12
        )
    )
    assert 0 <= mcnemar(b, c, mid_p=True) <= mcnemar(b, c) <= 1


def test_levels_by_enumeration() -> None:
    for n in (6, 15, 40):
        mass = [math.comb(n, b) / 2**n for b in range(n + 1)]
        for alternative in ("two-sided", "greater", "less"):
            exact = sum(m for b, m in enumerate(mass) if mcnemar(b, n - b, alternative=alternative) <= 0.05)
            middle = sum(
                m for b, m in enumerate(mass) if mcnemar(b, n - b, alternative=alternative, mid_p=True) <= 0.05
            )
            assert exact <= 0.05
            assert exact <= middle <= 0.065


def test_nothing_discordant() -> None:
    assert mcnemar(0, 0) == mcnemar(0, 0, mid_p=True) == mcnemar(0, 0, alternative="greater") == 1
    assert mcnemar(0, 0, alternative="less", mid_p=True) == 0.5


def test_impossible_arguments() -> None:
    with pytest.raises(InputError, match="zero or more, got -1 and 3"):
        mcnemar(-1, 3)
    with pytest.raises(UnknownNameError, match="did you mean 'greater'"):
        mcnemar(1, 3, alternative="grater")  # type: ignore[arg-type]
