"""How far two series rise together: Spearman's rank correlation (1904)."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from snellen.core.errors import InputError


def spearman(first: ArrayLike, second: ArrayLike) -> float:
    """The correlation of ranks, equal values sharing the mean of theirs; 0 where one series is constant.

    >>> spearman([0, 1, 2, 3], [0.1, 0.4, 0.3, 0.9])
    0.8

    Args:
        first: (n,), n ≥ 2.
        second: (n,).

    Raises:
        InputError: series of different lengths, of fewer than two values, or not finite.
    """
    one, other = (np.asarray(values, dtype=np.float64) for values in (first, second))
    if one.ndim != 1 or one.shape != other.shape or len(one) < 2:
        raise InputError(
            f"a rank correlation needs two series of one length, 2 at least; got {one.shape}, {other.shape}"
        )
    if not (np.isfinite(one).all() and np.isfinite(other).all()):
        raise InputError("a rank correlation needs finite values")
    from scipy.stats import rankdata

    # Not SciPy's ``spearmanr``, which gives NaN and warns where a series is constant.
    ranks = [rankdata(values) - (len(values) + 1) / 2 for values in (one, other)]
    spread = float(np.sqrt((ranks[0] ** 2).sum() * (ranks[1] ** 2).sum()))
    return float(ranks[0] @ ranks[1]) / spread if spread else 0.0
