"""How far two masks of one image agree, and whether a map's most important place lies on the object. Float64.

Zhang, Lin, Brandt, Shen and Sclaroff, "Top-down neural attention by excitation backprop", ECCV 2016, arXiv 1608.00507,
section 5.1: a hit is a point within a tolerance of the object, 15 pixels there.
"""

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


def pointing_game(points: ArrayLike, masks: ArrayLike, *, tolerance: float = 0.0) -> NDArray[np.float64]:
    """Hits of one point an image: 1 on the object or within the tolerance of it, 0 elsewhere.

    >>> masks = [[[0, 0, 0, 1]], [[0, 0, 0, 1]], [[1, 0, 0, 0]]]
    >>> pointing_game([[0, 3], [0, 1], [-1, -1]], masks)
    array([ 1.,  0., nan])
    >>> pointing_game([[0, 1]], masks[:1], tolerance=2)
    array([1.])

    Args:
        points: (n, 2), row and column in pixels; negative where a map points nowhere.
        masks: (n, h, w) bool, or integers 0 and 1.
        tolerance: largest distance to the object, pixels, from centre to centre.

    Returns:
        float64 (n,): 1, 0, or NaN where there is no point or no object. A count of hits should count a missing point as
            a miss, and say how many there were.

    Raises:
        InputError: other shapes or values, points outside the image, a negative tolerance.
    """
    places, truth = np.asarray(points, dtype=np.float64), np.asarray(masks)
    if truth.ndim != 3 or places.shape != (len(truth), 2):
        raise InputError(f"expected points (n, 2) and masks (n, h, w); got {places.shape} and {truth.shape}")
    if truth.size and (truth.dtype.kind not in "biu" or not np.isin(truth, (0, 1)).all()):
        raise InputError(
            f"masks are bool, or integers 0 and 1; got {truth.dtype}. Cut probabilities first: masks > 0.5"
        )
    if not tolerance >= 0:
        raise InputError(f"the tolerance is a number of pixels from 0 on, got {tolerance}")
    named = (places >= 0).all(axis=1)
    if bool((places[named] > np.array(truth.shape[1:]) - 1).any()):
        raise InputError(f"points are (row, column) inside {truth.shape[1:]}; some lie outside")
    hits = np.full(len(truth), np.nan)
    for image in np.flatnonzero(named & truth.any(axis=(1, 2))):
        distances = np.hypot(*(np.argwhere(truth[image]) - places[image]).T)
        hits[image] = float(distances.min() <= tolerance)
    return hits
