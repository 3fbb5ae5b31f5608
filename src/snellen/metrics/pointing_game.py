"""The pointing game: whether the place that a map calls most important lies on the object.

Zhang, Lin, Brandt, Shen and Sclaroff, "Top-down neural attention by excitation backprop", ECCV 2016, arXiv 1608.00507,
section 5.1: a hit is a point within a tolerance of the object, 15 pixels there.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from snellen.core.errors import InputError


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
        float64 (n,): 1, 0, or NaN where there is no point or no object. Whoever counts hits should count a point that
        is missing as a miss, and say how many there were.

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
