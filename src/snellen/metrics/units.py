"""Which images belong together: unit ids as codes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from snellen.core.errors import InputError


def unit_codes(unit_ids: Sequence[str]) -> NDArray[np.int64]:
    """Code of the unit (patient, lot, video) of each image.

    A code is the place of the id among the sorted ids, so it does not depend on the order of the images.

    >>> unit_codes(["patient 7", "patient 2", "patient 7"]).tolist()
    [1, 0, 1]

    Args:
        unit_ids: n ids; images with the same id are dependent. Give an image without a unit an id of its own.

    Returns:
        (n,), in 0 … G − 1 for G units, and each of these occurs.
    """
    # Not np.unique: its fixed-width strings take "a" and "a\\0" for the same.
    code_of = {unit_id: code for code, unit_id in enumerate(sorted(set(unit_ids)))}
    return np.fromiter((code_of[unit_id] for unit_id in unit_ids), dtype=np.int64, count=len(unit_ids))


def dense_codes(units: NDArray[np.int64] | None, n: int) -> NDArray[np.int64]:
    """Codes without gaps, as a subset of the images may have; every image its own unit when none are known.

    >>> dense_codes(np.array([7, 2, 7]), 3).tolist(), dense_codes(None, 3).tolist()
    ([1, 0, 1], [0, 1, 2])

    Args:
        units: (n,) integers, or None.
        n: how many images there are.

    Returns:
        (n,), in 0 … G − 1, and each of these occurs.

    Raises:
        InputError: not as many codes as images, or no integers.
    """
    if units is None:
        return np.arange(n, dtype=np.int64)
    given = np.asarray(units)
    if given.shape != (n,) or given.dtype.kind not in "iu":
        raise InputError(
            f"{n} values need as many integer unit codes (see snellen.metrics.units.unit_codes), got {given.dtype} "
            f"{given.shape}"
        )
    return np.unique(given, return_inverse=True)[1].astype(np.int64)
