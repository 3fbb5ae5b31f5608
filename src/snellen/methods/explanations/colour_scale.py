"""A scale of colours for values in [0, 1]."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

#: Viridis at 0, ⅛, …, 1 (van der Walt and Smith 2015): lightness rises evenly, so that all kinds of colour vision, and
#: a black and white print, see the same order; nothing in it is grey, as what is no tile is.
SCALE = np.array(
    [
        (68, 1, 84),
        (71, 44, 122),
        (59, 81, 139),
        (44, 113, 142),
        (33, 144, 141),
        (39, 173, 129),
        (92, 200, 99),
        (170, 220, 50),
        (253, 231, 37),
    ],
    dtype=np.float64,
)


def scale_colours(values: ArrayLike) -> NDArray[np.uint8]:
    """Colours of values in [0, 1]: (…) → uint8 (…, 3), linear between those of :data:`SCALE`.

    >>> scale_colours([0.0, 1.0]).tolist()
    [[68, 1, 84], [253, 231, 37]]
    """
    places = np.clip(np.asarray(values, dtype=np.float64), 0, 1)
    stops = np.linspace(0, 1, len(SCALE))
    return np.stack([np.interp(places, stops, channel) for channel in SCALE.T], axis=-1).round().astype(np.uint8)
