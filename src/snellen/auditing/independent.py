"""Images that may be counted as independent."""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

from snellen.auditing.per_image import PerImage


def one_of_each_unit(known: PerImage) -> NDArray[np.bool_]:
    """Which images stand for their unit: the test counts images as independent.

    The one whose id has the smallest hash: ids often hold the class or the day, and the first by name is no fair draw.
    """
    if known.units is None:
        return np.ones(len(known), dtype=bool)
    hashes = [hashlib.sha256(one.encode()).digest() for one in known.ids]
    order = np.array(sorted(range(len(known)), key=hashes.__getitem__))
    _, first = np.unique(known.units[order], return_index=True)
    chosen = np.zeros(len(known), dtype=bool)
    chosen[order[first]] = True
    return chosen
