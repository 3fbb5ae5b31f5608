"""McNemar's exact test of two conditions on the same images."""

from __future__ import annotations

from typing import Literal

from snellen.core.errors import InputError, unknown_name

Alternative = Literal["two-sided", "greater", "less"]


def mcnemar(only_first: int, only_second: int, *, alternative: Alternative = "two-sided", mid_p: bool = False) -> float:
    """Test "either condition succeeds alone equally often" (McNemar 1947; exact, by the binomial distribution).

    Given b + c images on which just one condition succeeds, b is Binomial(b + c, ½). The two-sided p value is twice the
    smaller tail. The mid-p value counts the outcome that was seen half (Fagerland, Lydersen and Laake, BMC Medical
    Research Methodology 13, 2013, 91): the exact test holds its level always and is too cautious when b + c is small;
    the mid-p test is close to its level and exceeds it rarely, and then little.

    Images must be independent of one another. Where they come in units, use
    :func:`snellen.metrics.clustered.clustered_mean` of the differences with ``pseudo_units=1``.

    >>> round(mcnemar(1, 8), 7), round(mcnemar(1, 8, mid_p=True), 7)
    (0.0390625, 0.0214844)
    >>> round(mcnemar(8, 1, alternative="greater"), 7)
    0.0195312

    Args:
        only_first: b, images on which the first condition alone succeeds.
        only_second: c, images on which the second alone does.
        alternative: ``greater``: the first condition succeeds more often; ``less``: less often.
        mid_p: count the outcome that was seen half.

    Returns:
        The p value; 1 without any such image (½ for a one-sided mid-p value).

    Raises:
        InputError: negative counts.
        UnknownNameError: no such alternative.
    """
    if min(only_first, only_second) < 0:
        raise InputError(f"counts are zero or more, got {only_first} and {only_second}")
    if alternative == "greater":
        return _at_least(only_first, only_second, mid_p)
    if alternative == "less":
        return _at_least(only_second, only_first, mid_p)
    if alternative != "two-sided":
        raise unknown_name("alternative", alternative, ("two-sided", "greater", "less"))
    more, fewer = max(only_first, only_second), min(only_first, only_second)
    return min(2 * _at_least(more, fewer, mid_p), 1.0)


def _at_least(seen: int, others: int, mid_p: bool) -> float:
    """P(X ≥ seen) of X from Binomial(seen + others, ½); less half of P(X = seen) for the mid-p value."""
    from scipy.stats import binom

    tail = float(binom.sf(seen - 1, seen + others, 0.5))
    return tail - float(binom.pmf(seen, seen + others, 0.5)) / 2 if mid_p else tail
