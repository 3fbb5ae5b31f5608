"""One probability of a bag from those of its instances: mean, maximum, log-sum-exp or noisy-or."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from snellen.core.errors import InputError, unknown_name

Pooling = Literal["mean", "max", "log_sum_exp", "noisy_or"]

#: Sharpness r of log-sum-exp: it is the mean for r → 0 and the maximum for r → ∞.
SHARPNESS = 10.0


def pooled(probabilities: ArrayLike, bags: NDArray[np.int64], count: int, *, pooling: Pooling) -> NDArray[np.float64]:
    """Pool the probabilities p of instances, bag by bag: (n,) → float64 (count,) in [0, 1], NaN for an empty bag.

    ===============  ================================================================================================
    ``mean``         Σ p / n
    ``max``          the largest p
    ``log_sum_exp``  log(Σ exp(r p) / n) / r with r = :data:`SHARPNESS` (Pinheiro and Collobert, CVPR 2015)
    ``noisy_or``     1 − Π (1 − p) (Maron and Lozano-Pérez, NIPS 1997): instances count as independent
    ===============  ================================================================================================

    >>> sure, bags = [0.5, 0.5, 0.0, 1.0], np.array([0, 0, 1, 1])
    >>> [pooled(sure, bags, 2, pooling=one).round(3).tolist() for one in get_args(Pooling)]
    [[0.5, 0.5], [0.5, 1.0], [0.5, 0.931], [0.75, 1.0]]

    Args:
        probabilities: (n,), in [0, 1].
        bags: (n,), position of each instance's bag, in 0 … count − 1.
        count: how many bags there are.
        pooling: how.

    Raises:
        InputError: wrong shapes, values that are no probabilities, or bags out of range.
        UnknownNameError: no such pooling.
    """
    values, owners = np.asarray(probabilities, dtype=np.float64), np.asarray(bags)
    if values.ndim != 1 or owners.shape != values.shape:
        raise InputError(f"probabilities (n,) and as many bags are needed, got {values.shape} and {owners.shape}")
    # Written so that NaN fails too.
    if not ((values >= 0) & (values <= 1)).all():
        raise InputError("probabilities of instances lie in [0, 1]; pass a softmax or sigmoid, not logits")
    if len(owners) and not 0 <= owners.min() <= owners.max() < count:
        raise InputError(f"bags lie in 0 … {count - 1}, got {owners.min()} to {owners.max()}")
    sizes = np.bincount(owners, minlength=count).astype(np.float64)
    sizes[sizes == 0] = np.nan
    found = _pooled(values, owners, sizes, pooling)
    return np.where(np.isnan(sizes), np.nan, np.clip(found, 0.0, 1.0))


def _pooled(
    values: NDArray[np.float64], owners: NDArray[np.int64], sizes: NDArray[np.float64], pooling: Pooling
) -> NDArray[np.float64]:
    count = len(sizes)
    if pooling == "mean":
        return np.bincount(owners, values, count) / sizes
    if pooling == "max":
        largest = np.zeros(count)
        np.maximum.at(largest, owners, values)
        return largest
    if pooling == "log_sum_exp":
        # Probabilities are at most 1, so that nothing overflows.
        sums = np.bincount(owners, np.exp(SHARPNESS * values), count)
        return np.log(np.where(sums > 0, sums, 1.0) / sizes) / SHARPNESS
    if pooling == "noisy_or":
        with np.errstate(divide="ignore"):
            return -np.expm1(np.bincount(owners, np.log1p(-values), count))
    raise unknown_name("pooling", pooling, get_args(Pooling))
