"""Where a slide carries tissue: Otsu's threshold on the saturation of an overview, small holes and specks removed.

Glass is grey, stained tissue is coloured. What this does *not* tell apart: ink of pens is coloured, so that marks on
the glass count as tissue; tissue without stain, fat and what has faded look like glass.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image


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


#: Between these saturations (of 255) the threshold is kept: on a slide of bare glass Otsu would split its noise, and on
#: one that is full of tissue it would part pale stroma from dark nuclei.
LEAST_THRESHOLD, LARGEST_THRESHOLD = 18, 51

#: Pixels whose brightest channel is below (of 255) are what a scanner left black; their saturation is noise.
DARKEST = 25

#: Values that are counted together.
_COUNTED = 2**18


def otsu_threshold(values: NDArray[np.uint8]) -> int:
    """Otsu's threshold (IEEE Transactions on Systems, Man and Cybernetics 9, 1979): values above it are one class.

    It has the largest variance between the two classes; where all values are alike, it is that value.

    >>> otsu_threshold(np.array([1, 2, 2, 200, 201], dtype=np.uint8))
    2
    """
    flat = values.ravel()
    # In pieces: counting makes eight bytes of each.
    pieces = (flat[start : start + _COUNTED] for start in range(0, flat.size, _COUNTED))
    counts = np.sum([np.bincount(piece, minlength=256) for piece in pieces], axis=0).astype(np.float64)
    below = counts.cumsum()
    mass = (counts * np.arange(256)).cumsum()
    total, above = below[-1], below[-1] - below
    parted = (below > 0) & (above > 0)
    if not parted.any():
        return int(values.flat[0])
    between = np.zeros(256)
    difference = mass[-1] * below[parted] - mass[parted] * total
    between[parted] = difference**2 / (below[parted] * above[parted])
    return int(between.argmax())


def tissue_mask(overview: Image.Image, *, smallest: float = 0.0) -> NDArray[np.bool_]:
    """Which pixels of an overview are tissue, bool (h, w).

    Args:
        overview: the slide from afar, RGB.
        smallest: specks of tissue, and holes in it, of fewer pixels are removed.
    """
    hue_saturation_value = np.asarray(overview.convert("HSV"))
    saturation, value = hue_saturation_value[..., 1], hue_saturation_value[..., 2]
    seen = value >= DARKEST
    if not seen.any():
        return seen
    threshold = min(max(otsu_threshold(saturation[seen]), LEAST_THRESHOLD), LARGEST_THRESHOLD)
    mask = without_small_parts((saturation > threshold) & seen, smallest)
    return ~without_small_parts(~mask, smallest)
