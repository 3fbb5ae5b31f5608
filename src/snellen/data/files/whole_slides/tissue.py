"""Where a slide carries tissue: Otsu's threshold on the saturation of an overview, small holes and specks removed.

Glass is grey, stained tissue is coloured. What this does *not* tell apart: ink of pens is coloured, so that marks on
the glass count as tissue; tissue without stain, fat and what has faded look like glass.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from snellen.data.files.whole_slides.components import without_small_parts

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
