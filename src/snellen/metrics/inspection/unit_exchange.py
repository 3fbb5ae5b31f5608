"""Permutation p values of "two sets follow one distribution": whole units change sides, as they might have."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from snellen.core.errors import InputError
from snellen.metrics.units import dense_codes

#: Permutations are drawn in blocks, which bounds memory.
BLOCK = 50

#: Draws end once so many were at least as extreme as the data: the p value is then far from small.
ENOUGH = 20

#: Where no draw is as extreme as the data, so many times as many are made: 999 draws go on to 19,999, whose smallest
#: p value, 5e-5, can be chosen among 1,000 hypotheses at a false discovery rate of 5 %.
FURTHER = 20


def exchange_p_value(
    statistic: Callable[[NDArray[np.bool_]], NDArray[np.float64]],
    unit_in_second: NDArray[np.bool_],
    *,
    permutations: int,
    rng: np.random.Generator,
    further: bool = True,
) -> float:
    """One-sided p value of a statistic that is large when two sets differ; see :func:`drawn_p_values`.

    >>> values = np.array([0.0, 1, 2, 3, 10, 11, 12, 13])
    >>> gap = lambda sides: values @ (sides / sides.sum(0) - ~sides / (~sides).sum(0))
    >>> p = exchange_p_value(gap, values > 5, permutations=499, rng=np.random.default_rng(0))
    >>> 0.002 <= p < 0.05  # 1 of 70 ways to part eight units is as extreme
    True

    Args:
        statistic: bool (g, p), which units lie in the second set, for p ways to part them → (p,).
        unit_in_second: (g,), as it is.
        permutations: number of draws.
        rng: draws the parts.
        further: whether to go on where no draw is as extreme.

    Raises:
        InputError: fewer than 19 permutations, which no p value of 0.05 can come from.
    """

    def draws(count: int) -> NDArray[np.float64]:
        return statistic(exchanged(unit_in_second, count, rng))[None]

    seen = statistic(unit_in_second[:, None])
    return float(drawn_p_values(seen, draws, permutations=permutations, further=further)[0])


def exchanged(unit_in_second: NDArray[np.bool_], count: int, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Ways to part the units at random, as many in the second set as there are: (g,) → (g, count).

    >>> exchanged(np.arange(5) < 2, 3, np.random.default_rng(0)).sum(0).tolist()
    [2, 2, 2]
    """
    return rng.permuted(np.tile(unit_in_second, (count, 1)), axis=1).T


def drawn_p_values(
    seen: NDArray[np.float64],
    draws: Callable[[int], NDArray[np.float64]],
    *,
    permutations: int,
    further: bool = True,
) -> NDArray[np.float64]:
    """One-sided p values (s,) of statistics, against draws that follow their joint law if two sets are alike.

    (1 + draws at least as extreme) / (1 + draws), or, where :data:`ENOUGH` draws were as extreme before the end, that
    number over the draws it took (Besag and Clifford 1991, Biometrika 78). If none of the permutations is as extreme,
    draws go on to :data:`FURTHER` times as many, and the p value is that of all of them, at most that of the first.
    It holds its level exactly at any sample size: below 1 / (permutations + 1) it is never less than the p value of a
    test by all draws, above it is small only where that of the first draws is.

    >>> normal = np.random.default_rng(0).normal
    >>> found = drawn_p_values(np.array([0.0, 9.0]), lambda count: normal(size=(2, count)), permutations=99)
    >>> bool(0.3 < found[0] < 0.8), float(found[1])
    (True, 0.0005)

    Args:
        seen: (s,), as the data have them.
        draws: number of draws → (s, number).
        permutations: number of draws.
        further: whether to go on where no draw is as extreme.

    Raises:
        InputError: fewer than 19 permutations.
    """
    if permutations < 19:
        raise InputError(f"19 permutations or more can reach a p value of 0.05, got {permutations}")
    # Rounding must not make a draw that equals the data less extreme.
    limit = (seen - 1e-9 * np.maximum(np.abs(seen), 1e-12))[:, None]
    extreme, found = np.zeros(len(seen), dtype=np.int64), np.full(len(seen), np.nan)
    most, drawn, last = 1.0, 0, permutations
    while drawn < last:
        count = min(BLOCK, last - drawn)
        reached = extreme[:, None] + np.cumsum(draws(count) >= limit, 1)
        ended = np.isnan(found) & (reached[:, -1] >= ENOUGH)
        found[ended] = ENOUGH / (drawn + 1 + (reached[ended] >= ENOUGH).argmax(1))
        found[ended] = np.minimum(found[ended], most)
        extreme, drawn = reached[:, -1], drawn + count
        if drawn == permutations and further:
            decided = np.isnan(found) & (extreme > 0)
            found[decided] = (1 + extreme[decided]) / (1 + drawn)
            most, last = 1 / (1 + drawn), FURTHER * (1 + permutations) - 1
        if not np.isnan(found).any():
            return found
    still = np.isnan(found)
    found[still] = np.minimum((1 + extreme[still]) / (1 + drawn), most)
    return found


def smallest_p_value(permutations: int) -> float:
    """That :func:`drawn_p_values` can give: 5e-5 for 999 permutations."""
    return 1 / (FURTHER * (permutations + 1))


def sum_p_value(
    values: NDArray[np.float64], chosen: NDArray[np.bool_], *, permutations: int, rng: np.random.Generator
) -> float:
    """One-sided p value of the sum of those values that are chosen, such as ranks of units, if units change sides.

    By draws; where :func:`chernoff_bound` is smaller than these can reach, and none of the permutations is as extreme,
    that bound. It is never 0.

    >>> sum_p_value(np.arange(2000.0), np.arange(2000) >= 1000, permutations=99, rng=np.random.default_rng(0)) < 1e-90
    True

    Args:
        values: (g,), finite.
        chosen: (g,).
        permutations: number of draws.
        rng: draws the parts.
    """
    bound = chernoff_bound(values, chosen)
    further = bound >= smallest_p_value(permutations)
    found = exchange_p_value(lambda parts: values @ parts, chosen, permutations=permutations, rng=rng, further=further)
    return found if further or found > 1 / (1 + permutations) else bound


def chernoff_bound(values: NDArray[np.float64], chosen: NDArray[np.bool_]) -> float:
    """Upper bound of the probability that as many values, drawn without replacement, sum up to what the chosen do.

    min over h > 0 of exp(−h s) mean(exp(h v))^m holds for m draws with replacement, and for draws without a fortiori
    (Chernoff 1952; Hoeffding 1963, JASA 58, theorem 4). What is not drawn has a sum with the same law; the smaller part
    is taken.

    >>> chernoff_bound(np.arange(1000.0), np.arange(1000) >= 990) < 1e-9
    True
    """
    if 2 * chosen.sum() > len(chosen):
        values, chosen = -values, ~chosen
    centred = values - values.mean()
    count, total = int(chosen.sum()), float(centred[chosen].sum())
    scale = float(np.abs(centred).max(initial=0))
    if scale == 0 or total <= 0:
        return 1.0
    steps = np.geomspace(1e-3, 1e3, 121)
    largest = float(centred.max() / scale)
    log_means = np.array([h * largest + np.log(np.exp(h * (centred / scale - largest)).mean()) for h in steps])
    # The smallest positive numbers are near exp(−745).
    return float(np.exp(np.clip((count * log_means - steps * total / scale).min(), -690, 0)))


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
