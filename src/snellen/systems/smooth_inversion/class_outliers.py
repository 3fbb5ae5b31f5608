"""Whether one class stands out: among all classes, or against the same class of clean models."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from snellen.core.errors import InputError

#: Makes the median absolute deviation of normal values their standard deviation.
CONSISTENCY = 1.4826


def robust_z(values: Sequence[float] | NDArray[np.floating], floor: float = 0.0) -> NDArray[np.float64]:
    """Deviations from the median of the classes in units of their median absolute deviation: (k,) → (k,).

    >>> robust_z([0.0, 1.0, 2.0, 3.0, 50.0]).round(2).tolist()
    [-1.35, -0.67, 0.0, 0.67, 32.38]

    Args:
        values: one for each class.
        floor: smallest spread, in units of the values, so that classes that are all alike make no outlier of a trifle.
    """
    numbers = np.asarray(values, dtype=np.float64)
    centre = np.median(numbers)
    spread = max(CONSISTENCY * float(np.median(np.abs(numbers - centre))), floor)
    return (numbers - centre) / spread if spread > 0 else np.zeros_like(numbers)


def contrast(values: Sequence[float] | NDArray[np.floating], floor: float) -> NDArray[np.float64]:
    """Log odds of the rate of each class above those of the middle class: (k,) → (k,).

    Rates of classes that are all hardly reached spread little, and deviations in units of that spread make outliers of
    trifles. Odds do not: 0.9 beside a middle class at 0.1 is 4.4, and 0.3 beside it 1.3, for any other classes.

    >>> contrast([0.1, 0.05, 0.3, 0.9, 0.08], floor=0.05).round(1).tolist()
    [0.0, -0.7, 1.3, 4.4, -0.2]

    Args:
        values: rates, one for each class.
        floor: smallest rate that is believed, and 1 minus the largest one.
    """
    odds = log_odds(values, floor)
    return odds - np.median(odds)


def log_odds(rates: float | Sequence[float] | NDArray[np.floating], floor: float) -> NDArray[np.float64]:
    """log(rate / (1 − rate)) of rates that are at least ``floor``, and at most 1 − ``floor``."""
    numbers = np.clip(np.asarray(rates, dtype=np.float64), floor, 1 - floor)
    return np.asarray(np.log(numbers / (1 - numbers)))


def excess(
    values: Sequence[float] | NDArray[np.floating], null: NDArray[np.floating], floor: float
) -> NDArray[np.float64]:
    """How far each class lies above the same class of clean models, in standard deviations of these: (k,) → (k,).

    Some classes are reached from everywhere in clean models too; only clean models of the same task can show that.

    >>> excess([0.9, 0.5], np.array([[0.1, 0.4], [0.1, 0.6]]), floor=0.1).round(1).tolist()
    [8.0, 0.0]

    Args:
        values: one for each class.
        null: the same of m ≥ 2 clean models (m, k).
        floor: smallest standard deviation, in units of the values.

    Raises:
        InputError: fewer than two clean models, or other classes.
    """
    numbers, clean = np.asarray(values, dtype=np.float64), np.asarray(null, dtype=np.float64)
    if clean.ndim != 2 or len(clean) < 2 or clean.shape[1] != len(numbers):
        raise InputError(
            f"{len(numbers)} classes are compared with (m ≥ 2, {len(numbers)}) of clean models, got {clean.shape}"
        )
    return (numbers - clean.mean(0)) / np.maximum(clean.std(0, ddof=1), floor)


def rank_p_value(values: Sequence[float] | NDArray[np.floating], null: NDArray[np.floating], floor: float) -> float:
    """Rank of a model's largest excess among those of the clean models, each against all others, itself included.

    Exact if the model, were it clean, is exchangeable with the m of the null. It cannot be smaller than 1 / (m + 1):
    ten clean models give 1/11 at best.

    >>> clean = np.array([[0.1, 0.4], [0.1, 0.6], [0.2, 0.5]])
    >>> rank_p_value([0.9, 0.5], clean, 0.1), rank_p_value([0.1, 0.5], clean, 0.1)
    (0.25, 0.75)

    Args:
        values: one for each class (k,).
        null: the same of m ≥ 2 clean models (m, k).
        floor: see :func:`excess`.
    """
    pool = np.vstack([np.asarray(null, dtype=np.float64), np.asarray(values, dtype=np.float64)])
    if len(pool) < 3:
        raise InputError(f"a rank among clean models needs at least two of them, got {len(pool) - 1}")
    statistics = [excess(one, np.delete(pool, row, axis=0), floor).max() for row, one in enumerate(pool)]
    return float(np.mean(np.asarray(statistics) >= statistics[-1]))
