"""Images, or bags, that may be counted as independent, and two halves that share no unit."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from snellen.checks.per_image import PerImage
from snellen.core.randomness import stream_name


def in_first_half(unit_ids: Sequence[str]) -> NDArray[np.bool_]:
    """Which images are in the first half: bool (n,), the same for all images of a unit.

    Units go by the hash of their name, so that neither order nor number of images matters; of an odd number of units
    the second half has one more.

    >>> first = in_first_half(["a", "b", "c", "d", "a"])
    >>> int(first[:4].sum()), bool(first[0] == first[4])
    (2, True)
    """
    ordered = sorted(set(unit_ids), key=lambda unit: hashlib.sha256(stream_name(unit).encode()).digest())
    chosen = set(ordered[: len(ordered) // 2])
    return np.array([unit in chosen for unit in unit_ids], dtype=bool)


def one_of_each_unit(known: PerImage) -> NDArray[np.bool_]:
    """Which images stand for their unit, (n,): the test counts images as independent."""
    if known.units is None:
        return np.ones(len(known), dtype=bool)
    return one_of_each(known.ids, known.units)


def one_of_each(ids: Sequence[str], units: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which of n rows stand for their unit, (n,): one of each unit.

    The one whose id has the smallest hash: ids often hold the class or the day, and the first by name is no fair draw.

    >>> one_of_each(["a", "b", "c"], np.array([4, 7, 4])).tolist()
    [False, True, True]

    Args:
        ids: (n,).
        units: (n,), code of the unit of each.
    """
    hashes = [hashlib.sha256(stream_name(one).encode()).digest() for one in ids]
    order = np.array(sorted(range(len(hashes)), key=hashes.__getitem__), dtype=np.int64)
    _, first = np.unique(units[order], return_index=True)
    chosen = np.zeros(len(hashes), dtype=bool)
    chosen[order[first]] = True
    return chosen
