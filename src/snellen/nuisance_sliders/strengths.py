"""The strengths of a trajectory: from 0, which is the generator as it is, upwards."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

from snellen.errors import InputError

#: Of the published benchmark.
PUBLISHED = (0.0, 0.5, 1.0, 1.5, 2.0, 2.5)


def checked_strengths(values: Sequence[float]) -> tuple[float, ...]:
    """A grid of strengths, once it is known to be one.

    >>> checked_strengths([0, 0.5, 2])
    (0.0, 0.5, 2.0)

    Raises:
        InputError: it does not start at 0, does not ascend strictly, has one strength alone, or one that is not finite.
    """
    grid = tuple(float(value) for value in values)
    wrong = next((value for value in grid if not math.isfinite(value)), None)
    if wrong is not None:
        raise InputError(f"strengths are finite numbers; got {wrong}")
    if len(grid) < 2 or grid[0] != 0:
        raise InputError(
            f"strengths start at 0, with which the others are compared, and there are two at least; got {_told(grid)}"
        )
    for lower, higher in pairwise(grid):
        if not lower < higher:
            raise InputError(f"strengths ascend; {higher:g} comes after {lower:g} in {_told(grid)}")
    return grid


def _told(grid: Sequence[float]) -> str:
    return ", ".join(f"{value:g}" for value in grid) or "none"
