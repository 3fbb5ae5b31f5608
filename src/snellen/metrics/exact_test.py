"""Fisher's exact test for two shares."""

from __future__ import annotations

from snellen.core.errors import InputError


def fisher_greater(first_successes: int, first_n: int, second_successes: int, second_n: int) -> float:
    """One-sided p value of "the first share is no larger than the second" (Fisher 1935).

    Given the totals, the first group's successes are hypergeometric; the p value is the probability of at least as many
    as were seen. It holds its level for every n, however small.

    >>> round(fisher_greater(3, 4, 1, 4), 4)  # the lady tasting tea
    0.2429

    Raises:
        InputError: counts out of range.
    """
    for successes, n in ((first_successes, first_n), (second_successes, second_n)):
        if not 0 <= successes <= n:
            raise InputError(f"{successes} successes of {n} are no share")
    if not first_successes:
        return 1.0  # where nothing was counted at all, SciPy gives NaN
    from scipy.stats import hypergeom

    total, marked = first_n + second_n, first_successes + second_successes
    return float(hypergeom.sf(first_successes - 1, total, marked, first_n))
