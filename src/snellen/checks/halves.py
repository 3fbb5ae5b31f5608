"""Two halves of the images that share no unit."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def halves(unit_ids: Sequence[str]) -> NDArray[np.bool_]:
    """Which images are in the first half: bool (n,), the same for all images of a unit.

    Units go by the hash of their name, so that neither order nor number of images matters; of an odd number of units
    the second half has one more.

    >>> first = halves(["a", "b", "c", "d", "a"])
    >>> int(first[:4].sum()), bool(first[0] == first[4])
    (2, True)
    """
    ordered = sorted(set(unit_ids), key=lambda unit: hashlib.sha256(unit.encode()).digest())
    chosen = set(ordered[: len(ordered) // 2])
    return np.array([unit in chosen for unit in unit_ids], dtype=bool)
