"""How far two masks of one image agree: intersection over union, and the coefficient of Dice. Float64."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from snellen.core.errors import InputError


def intersection_over_union(masks: ArrayLike, truth: ArrayLike) -> NDArray[np.float64]:
    """Pixels in both masks over pixels in either: |A ∩ B| / |A ∪ B| (Jaccard 1901).

    Pixels are counted in integers, so that only the division rounds.

    >>> intersection_over_union([[[1, 1, 0]], [[0, 0, 0]]], [[[0, 1, 1]], [[0, 0, 0]]])
    array([0.33333333,        nan])

    Args:
        masks: (n, h, w) bool, or integers 0 and 1; a mask of probabilities is cut first, at a limit of the caller's.
        truth: of the same shape.

    Returns:
        (n,) in [0, 1]; NaN where both masks are empty, because there is nothing to agree on.

    Raises:
        InputError: other shapes, or values other than 0 and 1.
    """
    first, second = _pair(masks, truth)
    both = np.count_nonzero(first & second, axis=(1, 2))
    either = np.count_nonzero(first | second, axis=(1, 2))
    return _share(both, either)


def dice(masks: ArrayLike, truth: ArrayLike) -> NDArray[np.float64]:
    """Twice the pixels in both masks over the pixels of each, added: 2 |A ∩ B| / (|A| + |B|) (Dice 1945).

    >>> dice([[[1, 1, 0]]], [[[0, 1, 1]]])
    array([0.5])

    Args:
        masks: (n, h, w) bool, or integers 0 and 1.
        truth: of the same shape.

    Returns:
        (n,) in [0, 1]; NaN where both masks are empty.

    Raises:
        InputError: other shapes, or values other than 0 and 1.
    """
    first, second = _pair(masks, truth)
    both = np.count_nonzero(first & second, axis=(1, 2))
    sizes = np.count_nonzero(first, axis=(1, 2)) + np.count_nonzero(second, axis=(1, 2))
    return _share(2 * both, sizes)


def _share(part: NDArray[np.intp], whole: NDArray[np.intp]) -> NDArray[np.float64]:
    return np.divide(part, whole, out=np.full(len(whole), np.nan), where=whole > 0)


def _pair(masks: ArrayLike, truth: ArrayLike) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    first, second = np.asarray(masks), np.asarray(truth)
    if first.ndim != 3 or first.shape != second.shape:
        raise InputError(f"expected two sets of masks (n, h, w), got {first.shape} and {second.shape}")
    return _binary(first), _binary(second)


def _binary(mask: NDArray[np.generic]) -> NDArray[np.bool_]:
    if mask.size and (mask.dtype.kind not in "biu" or not np.isin(mask, (0, 1)).all()):
        raise InputError(
            f"masks are bool, or integers 0 and 1; got {mask.dtype} with {np.unique(mask)[:3].tolist()}. Cut "
            f"probabilities first: masks > 0.5"
        )
    return mask.astype(np.bool_)
