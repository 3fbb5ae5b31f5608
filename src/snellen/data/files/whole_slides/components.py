"""Connected parts of a mask."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def without_small_parts(mask: NDArray[np.bool_], smallest: float) -> NDArray[np.bool_]:
    """A mask without its connected parts (by sides) of fewer than ``smallest`` pixels, bool (h, w).

    >>> mask = np.array([[1, 1, 0, 0], [0, 1, 0, 1]], dtype=bool)
    >>> without_small_parts(mask, 2).astype(int).tolist()
    [[1, 1, 0, 0], [0, 1, 0, 0]]
    """
    starts, stops, width = _runs(mask)
    if not len(starts):
        return mask.copy()
    part = _parts(starts, stops, width)
    area = np.bincount(part, weights=stops - starts)
    kept = area[part] >= smallest
    # One step up where a run begins, one down behind it: their running sum is the mask.
    steps = np.zeros(mask.shape[0] * width + 1, dtype=np.int8)
    steps[starts[kept]] += 1
    steps[stops[kept]] -= 1
    return steps[:-1].cumsum(dtype=np.int8).reshape(-1, width)[:, :-1].astype(bool)


def _runs(mask: NDArray[np.bool_]) -> tuple[NDArray[np.int64], NDArray[np.int64], int]:
    """Begin and end of each horizontal run in the flattened mask, whose rows have one empty column more."""
    padded = np.pad(mask, ((0, 0), (0, 1)))
    steps = np.diff(padded.ravel().astype(np.int8), prepend=0, append=0)
    return np.flatnonzero(steps == 1), np.flatnonzero(steps == -1), padded.shape[1]


def _parts(starts: NDArray[np.int64], stops: NDArray[np.int64], width: int) -> NDArray[np.int64]:
    """Number of the connected part of each run: the smallest number among the runs of the part."""
    first = np.searchsorted(stops, starts + width, side="right")  # runs of the next row that touch from below
    last = np.searchsorted(starts, stops + width, side="left")
    touching = np.maximum(last - first, 0)
    above = np.repeat(np.arange(len(starts)), touching)
    below = np.arange(touching.sum()) - np.repeat(touching.cumsum() - touching, touching) + np.repeat(first, touching)
    number = np.arange(len(starts))
    while True:
        least = np.minimum(number[above], number[below])
        new = number.copy()
        np.minimum.at(new, number[above], least)
        np.minimum.at(new, number[below], least)
        new = np.minimum(new, new[new])
        if np.array_equal(new, number):
            return number
        number = new
