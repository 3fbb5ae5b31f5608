"""Many tests at once: which to believe (false discovery rate), and what confidence to give the intervals of those."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from snellen.core.errors import InputError


def adjusted_p_values(p_values: Sequence[float] | NDArray[np.float64]) -> NDArray[np.float64]:
    """Benjamini and Hochberg's adjusted p values: the smallest rate at which each test would be selected.

    min over ranks j ≥ i of p_(j) m / j, never above 1 (Benjamini and Hochberg, JRSS B 57, 1995, 289–300; Yekutieli and
    Benjamini 1999, for the adjusted values).

    >>> adjusted_p_values([0.01, 0.04, 0.03, 0.5]).round(4).tolist()
    [0.04, 0.0533, 0.0533, 0.5]

    Args:
        p_values: (m,) in [0, 1], of *all* tests that were done, not only the promising ones.

    Returns:
        (m,), in the order given; equal p values have equal adjusted values.

    Raises:
        InputError: values outside [0, 1], or NaN.
    """
    given = np.asarray(p_values, dtype=np.float64)
    # Written so that NaN fails too.
    if given.ndim != 1 or not ((given >= 0) & (given <= 1)).all():
        raise InputError(f"expected p values (m,) in [0, 1], got {given.shape} {given.reshape(-1)[:5].tolist()}")
    from scipy.stats import false_discovery_control

    adjusted: NDArray[np.float64] = false_discovery_control(given)
    return adjusted


def benjamini_hochberg(p_values: Sequence[float] | NDArray[np.float64], rate: float = 0.05) -> NDArray[np.bool_]:
    """Which tests to believe, so that of those believed at most a share ``rate`` is false on average.

    Benjamini and Hochberg (1995): with R the largest rank i such that p_(i) ≤ rate · i / m, the R smallest. The rate
    holds for independent tests and for tests that depend positively (Benjamini and Yekutieli, Annals of Statistics 29,
    2001, 1165–1188), such as those of subgroups or corruptions of the same images mostly are; for tests that depend in
    any way, ask for rate / (1 + 1/2 + … + 1/m).

    >>> benjamini_hochberg([0.01, 0.04, 0.02, 0.5]).tolist()
    [True, False, True, False]

    Args:
        p_values: (m,) in [0, 1], of all tests that were done.
        rate: in (0, 1).

    Returns:
        bool (m,), in the order given.

    Raises:
        InputError: values or rate out of range.
    """
    return adjusted_p_values(p_values) <= _checked(rate)


def simes(p_values: Sequence[float] | NDArray[np.float64]) -> float:
    """One p value of a family of tests, of the hypothesis that all of them are true: min over ranks i of p_(i) m / i.

    Simes (Biometrika 73, 1986, 751–754). It holds for independent tests and for those that depend positively (Sarkar,
    Annals of Statistics 26, 1998, 494–504), as those of damage to the same images mostly do.

    >>> round(simes([0.01, 0.04, 0.03]), 4)
    0.03

    Raises:
        InputError: no value, values outside [0, 1], or NaN.
    """
    if not len(p_values):
        raise InputError("a family without a test has no p value")
    return float(adjusted_p_values(p_values).min())


def selected_confidence(selected: int, tested: int, rate: float = 0.05) -> float:
    """Confidence of the intervals to show of the selected tests: 1 − rate · R / m.

    Of all intervals shown, at most a share ``rate`` then misses its truth on average (false coverage-statement rate;
    Benjamini and Yekutieli, JASA 100, 2005, 71–81). Intervals at the usual confidence miss more often, because what
    looks worst by chance is what is selected. The one-sided lower bound at this confidence is above zero exactly for
    the tests that :func:`benjamini_hochberg` selects by one-sided p values (up to ties).

    >>> selected_confidence(2, 20)
    0.995

    Args:
        selected: R, how many tests were selected; none counts as one, so that there is always a level.
        tested: m, how many were done.
        rate: in (0, 1), that of the selection.

    Raises:
        InputError: more selected than tested, none tested, or a rate out of range.
    """
    if not 0 <= selected <= tested or tested < 1:
        raise InputError(f"{selected} of {tested} tests cannot have been selected")
    return 1 - _checked(rate) * max(selected, 1) / tested


def _checked(rate: float) -> float:
    if not 0 < rate < 1:
        raise InputError(f"a rate lies strictly between 0 and 1, got {rate}")
    return rate
