"""Net benefit of decisions at a rate at which harms are exchanged, and intervals of it over units."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from snellen.core.errors import InputError
from snellen.metrics.clustered import clustered_share
from snellen.metrics.intervals import Interval
from snellen.metrics.unit_jackknife import unit_influence, unit_sums
from snellen.metrics.units import dense_codes


def net_benefit(sensitivity: float, specificity: float, prevalence: float, threshold_probability: float) -> float:
    """Found positives less the false alarms that they are worth, for each image (Vickers and Elkin 2006).

    sensitivity · π − (1 − specificity) · (1 − π) · p / (1 − p) (Medical Decision Making 26, 565–574), where a
    threshold probability of p says that a missed positive is as bad as (1 − p) / p false alarms.

    >>> round(net_benefit(0.9, 0.8, 0.1, 0.2), 4)  # 9 of 100 found, less 18 false alarms, four to one
    0.045

    Args:
        sensitivity: share in [0, 1].
        specificity: share in [0, 1].
        prevalence: π, in (0, 1).
        threshold_probability: p, in (0, 1).

    Raises:
        InputError: a prevalence or threshold probability out of range.
    """
    odds = _odds(threshold_probability)
    _check(prevalence, "prevalence")
    return sensitivity * prevalence - (1 - specificity) * (1 - prevalence) * odds


def treat_all(prevalence: float, threshold_probability: float) -> float:
    """Net benefit of calling every image positive; that of calling none is 0."""
    return net_benefit(1.0, 0.0, prevalence, threshold_probability)


def net_benefit_interval(
    called: NDArray[np.bool_],
    positive: NDArray[np.bool_],
    units: NDArray[np.int64] | None,
    threshold_probability: float,
    prevalence: float | None = None,
    confidence: float = 0.95,
) -> Interval:
    """Interval of the net benefit of decisions, with images in units.

    It is a difference of two shares with weights: by the method of variance estimates recovery (Zou and Donner,
    Statistics in Medicine 27, 2008, 1693–1702) from the interval of each share over units, with their correlation over
    units. At a stated prevalence the shares are sensitivity and 1 − specificity, else found positives and false alarms
    among all images.

    >>> called, positive = np.arange(100) < 30, np.arange(100) < 20
    >>> [round(end, 3) for end in net_benefit_interval(called, positive, None, 0.2)]
    [0.103, 0.266]

    Args:
        called: (n,), whether each image is called positive.
        positive: (n,), whether it is.
        units: (n,) codes; None: each image is a unit.
        threshold_probability: in (0, 1).
        prevalence: in (0, 1), taken as known; None: that of the images.
        confidence: in (0, 1).
    """
    odds = _odds(threshold_probability)
    if prevalence is None:
        rows = np.ones(len(called), dtype=bool), np.ones(len(called), dtype=bool)
        values, weights = (called & positive, called & ~positive), (1.0, odds)
    else:
        _check(prevalence, "prevalence")
        rows, values = (positive, ~positive), (called, called)
        weights = (prevalence, (1 - prevalence) * odds)
    if not rows[0].any() or not rows[1].any():
        return Interval(-weights[1], weights[0])
    codes = dense_codes(units, len(called))
    shares, ends, moves = [], [], []
    for chosen, marked in zip(rows, values, strict=True):
        own = marked[chosen].astype(np.float64)
        shares.append(float(own.mean()))
        ends.append(clustered_share(own, None if units is None else codes[chosen], confidence))
        sums, sizes = unit_sums(own, codes[chosen], int(codes.max()) + 1)
        moves.append(unit_influence(sums, sizes, shares[-1]))
    (gain, loss), (won, lost) = weights, shares
    norms = [float(np.linalg.norm(one)) for one in moves]
    usable = all(0 < norm < math.inf for norm in norms)
    correlation = float(moves[0] @ moves[1]) / (norms[0] * norms[1]) if usable else 0.0
    value = gain * won - loss * lost
    down, up = gain * (won - ends[0].low), gain * (ends[0].high - won)
    other_down, other_up = loss * (lost - ends[1].low), loss * (ends[1].high - lost)
    return Interval(
        value - math.sqrt(max(down**2 + other_up**2 - 2 * correlation * down * other_up, 0.0)),
        value + math.sqrt(max(up**2 + other_down**2 - 2 * correlation * up * other_down, 0.0)),
    )


def _odds(threshold_probability: float) -> float:
    _check(threshold_probability, "a threshold probability")
    return threshold_probability / (1 - threshold_probability)


def _check(value: float, what: str) -> None:
    if not 0 < value < 1:
        raise InputError(f"{what} lies strictly between 0 and 1, got {value}")
