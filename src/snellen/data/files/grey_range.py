"""Grey values of more than 8 bits, brought to bytes from the range that they are declared to have."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from snellen.core.errors import InputError, RejectedImageError

#: The whole range of 16 bits.
SIXTEEN_BIT = (0, 65535)

_ROWS = 512  # at once, so that a large picture does not need eight times its size


def grey_to_bytes(values: NDArray[np.integer], grey_range: tuple[int, int] = SIXTEEN_BIT) -> NDArray[np.uint8]:
    """Scale integer grey values (h, w) so that ``grey_range`` becomes 0 … 255, rounded to the nearest byte.

    >>> grey_to_bytes(np.array([[0, 2048, 4095]], dtype=np.uint16), (0, 4095)).tolist()
    [[0, 128, 255]]

    Raises:
        RejectedImageError: a value lies outside the declared range. Cutting it off would hide a wrong declaration.
        InputError: the range is empty.
    """
    low, high = checked_range(grey_range)
    darkest, brightest = int(values.min()), int(values.max())
    if darkest < low or brightest > high:
        raise RejectedImageError(
            f"grey values from {darkest} to {brightest} lie outside the declared range {low} to {high}; "
            f"declare the right grey_range"
        )
    scaled = np.empty(values.shape, dtype=np.uint8)
    for start in range(0, len(values), _ROWS):
        part = values[start : start + _ROWS].astype(np.float64)
        part -= low
        part *= 255
        part /= high - low
        scaled[start : start + _ROWS] = np.rint(part)
    return scaled


def checked_range(grey_range: tuple[int, int]) -> tuple[int, int]:
    """The range, if its lower end is below its upper end."""
    low, high = grey_range
    if not low < high:
        raise InputError(f"a grey range goes from a lower to a higher value, got {low} to {high}")
    return low, high
