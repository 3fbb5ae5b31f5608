"""Figures of certificates: certified accuracy over radii, the average certified radius, abstentions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from snellen.core.errors import InputError


def certified_correct(radii: NDArray[np.floating], right: NDArray[np.bool_], radius: float) -> NDArray[np.bool_]:
    """Of which images the right class is certified at a radius: bool (n,). An abstention is wrong."""
    if radii.shape != right.shape:
        raise InputError(f"{radii.shape} radii and {right.shape} decisions are not of the same images")
    return right & (radii >= radius)


def certified_curve(radii: NDArray[np.floating], right: NDArray[np.bool_], at: Sequence[float]) -> tuple[float, ...]:
    """Share of the images whose right class is certified, at each radius.

    >>> certified_curve(np.array([0.5, 1.0, 0.0]), np.array([True, True, False]), [0.0, 0.75])
    (0.6666666666666666, 0.3333333333333333)

    Args:
        radii: of n images, 0 where it abstains.
        right: whether the certified class is the right one; False where it abstains.
        at: radii.
    """
    return tuple(float(certified_correct(radii, right, radius).mean()) for radius in at)


def average_radius(radii: NDArray[np.floating], right: NDArray[np.bool_]) -> float:
    """Average certified radius (ACR): the mean over all images, 0 where it is wrong or abstains.

    >>> average_radius(np.array([0.5, 1.0, 0.7]), np.array([True, True, False]))
    0.5
    """
    return float(np.where(right, radii, 0.0).mean())
