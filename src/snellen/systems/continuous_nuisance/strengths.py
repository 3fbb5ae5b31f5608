"""The strengths of a trajectory: from 0, which is the generator as it is, upwards."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

from snellen.core.errors import InputError

#: Of the published benchmark.
PUBLISHED = (0.0, 0.5, 1.0, 1.5, 2.0, 2.5)

#: Strengths of a grid that is written by its ends: more is a slip of the pen.
_MOST = 100


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
            f"strengths start at 0, with which the others are compared, and there are two at least; got {_listed(grid)}"
        )
    for lower, higher in pairwise(grid):
        if not lower < higher:
            raise InputError(f"strengths ascend; {higher:g} comes after {lower:g} in {_listed(grid)}")
    return grid


def strengths_of(texts: Sequence[str]) -> tuple[float, ...]:
    """A grid as it is written on a command line: ``start:end:count``, or the numbers themselves.

    >>> strengths_of(["0:2.5:6"]), strengths_of(["0", "1"])
    ((0.0, 0.5, 1.0, 1.5, 2.0, 2.5), (0.0, 1.0))

    Raises:
        InputError: text that is neither, and what :func:`checked_strengths` refuses.
    """
    parts = texts[0].split(":") if len(texts) == 1 else []
    try:
        ends, count = ([float(part) for part in parts[:2]], int(parts[2])) if len(parts) == 3 else ([], 0)
        values = [] if ends else [float(text) for text in texts]
    except ValueError:
        raise InputError(
            f"strengths are START:END:COUNT, such as 0:2.5:6, or numbers; got {' '.join(texts) or 'nothing'!r}"
        ) from None
    if ends and not 2 <= count <= _MOST:
        raise InputError(f"a grid has 2 to {_MOST} strengths; got {texts[0]!r}")
    if ends:
        # Rounded, because the names of settings and folders are made of them.
        values = [round(ends[0] + (ends[1] - ends[0]) * at / (count - 1), 9) for at in range(count)]
    return checked_strengths(values)


def beyond(strengths: Sequence[float]) -> float:
    """The failure point of what never fails: a step beyond the largest strength; 3 for the published grid.

    >>> beyond(PUBLISHED), beyond([4])
    (3.0, 5.0)
    """
    ordered = sorted(strengths)
    return ordered[-1] + (ordered[-1] - ordered[-2] if len(ordered) > 1 else 1.0)


def _listed(grid: Sequence[float]) -> str:
    return ", ".join(f"{value:g}" for value in grid) or "none"
