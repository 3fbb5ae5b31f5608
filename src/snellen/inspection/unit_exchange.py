"""Permutation p values of "two sets follow one distribution": whole units change sides, as they might have."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from snellen.errors import InputError
from snellen.metrics.units import dense_codes

#: Permutations are drawn in blocks, which bounds memory.
BLOCK = 50

#: Draws end once so many were at least as extreme as the data: the p value is then far from small.
ENOUGH = 20


def exchange_p_value(
    statistic: Callable[[NDArray[np.bool_]], NDArray[np.float64]],
    unit_in_second: NDArray[np.bool_],
    *,
    permutations: int,
    rng: np.random.Generator,
) -> float:
    """One-sided p value of a statistic that is large when two sets differ.

    (1 + draws at least as extreme) / (1 + draws), or, where :data:`ENOUGH` draws were as extreme before the end, that
    number over the draws it took (Besag and Clifford 1991). Both hold their level exactly, at any sample size.

    >>> values = np.array([0.0, 1, 2, 3, 10, 11, 12, 13])
    >>> gap = lambda sides: values @ (sides / sides.sum(0) - ~sides / (~sides).sum(0))
    >>> p = exchange_p_value(gap, values > 5, permutations=499, rng=np.random.default_rng(0))
    >>> 0.002 <= p < 0.05  # 1 of 70 ways to part eight units is as extreme
    True

    Args:
        statistic: bool (g, p), which units lie in the second set, for p ways to part them → (p,).
        unit_in_second: (g,), as it is.
        permutations: largest number of draws.
        rng: draws the parts.

    Raises:
        InputError: fewer than 19 permutations, which no p value of 0.05 can come from.
    """
    if permutations < 19:
        raise InputError(f"19 permutations or more can reach a p value of 0.05, got {permutations}")
    seen = float(statistic(unit_in_second[:, None])[0])
    # Rounding must not make a draw that equals the data less extreme.
    limit = seen - 1e-9 * max(abs(seen), 1e-12)
    extreme = drawn = 0
    while drawn < permutations:
        count = min(BLOCK, permutations - drawn)
        hits = statistic(rng.permuted(np.tile(unit_in_second, (count, 1)), axis=1).T) >= limit
        if extreme + int(hits.sum()) >= ENOUGH:
            needed = int(np.searchsorted(np.cumsum(hits), ENOUGH - extreme)) + 1
            return ENOUGH / (drawn + needed)
        extreme, drawn = extreme + int(hits.sum()), drawn + count
    return (1 + extreme) / (1 + drawn)


def joined_units(
    first_n: int, second_n: int, first_units: NDArray[np.int64] | None, second_units: NDArray[np.int64] | None
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Codes over both sets, and which units lie in the second; a code means another unit in each set.

    >>> codes, in_second = joined_units(2, 3, None, np.array([0, 0, 4]))
    >>> codes.tolist(), in_second.tolist()
    ([0, 1, 2, 2, 3], [False, False, True, True])

    Raises:
        InputError: not as many codes as images, or fewer than two units in a set.
    """
    first, second = dense_codes(first_units, first_n), dense_codes(second_units, second_n)
    counts = [int(codes.max(initial=-1)) + 1 for codes in (first, second)]
    if min(counts) < 2:
        raise InputError(f"each set needs two units or more, got {counts[0]} and {counts[1]}")
    return np.concatenate([first, second + counts[0]]), np.arange(sum(counts)) >= counts[0]
