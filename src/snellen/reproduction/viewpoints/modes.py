"""How many different places round an object a set of cameras stands at."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

#: Cameras that stand further apart than this, with none between, are of two places, degrees.
GAP = 20.0

#: Share of the cameras that a place must hold.
LEAST_SHARE = 0.05


def azimuth_modes(azimuths: NDArray[np.float64]) -> int:
    """Count places by gaps on the circle: clusters by single linkage.

    >>> azimuth_modes(np.array([-175.0, 175, 178, 10, 12, 14])), azimuth_modes(np.array([]))
    (2, 0)

    Args:
        azimuths: of the cameras, degrees, (n,).
    """
    if not len(azimuths):
        return 0
    around = np.sort(azimuths % 360)
    gaps = np.diff(np.append(around, around[0] + 360))
    ends = np.flatnonzero(gaps > GAP)
    if len(ends) < 2:
        return 1
    # Cameras from behind one wide gap up to the next.
    sizes = np.diff(np.append(ends, ends[0] + len(around)))
    return int((sizes >= LEAST_SHARE * len(around)).sum())
