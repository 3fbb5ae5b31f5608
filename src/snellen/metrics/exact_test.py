"""Fisher's exact test for two shares, from sums of log-factorials."""

from __future__ import annotations

import math

import numpy as np

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
    total, marked = first_n + second_n, first_successes + second_successes
    counts = np.arange(first_successes, min(first_n, marked) + 1)
    counts = counts[marked - counts <= second_n]
    log_whole = _log_choose(total, marked)
    logs = [_log_choose(first_n, int(c)) + _log_choose(second_n, marked - int(c)) - log_whole for c in counts]
    return min(math.fsum(math.exp(value) for value in logs), 1.0)


def _log_choose(n: int, k: int) -> float:
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
