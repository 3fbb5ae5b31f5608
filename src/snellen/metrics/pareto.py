"""Trade-offs between two figures: which settings no other one beats in both, and where a curve bends most."""

from __future__ import annotations

import math
from collections.abc import Sequence

from snellen.core.errors import InputError

Pair = tuple[float, float]


def pareto_front(points: Sequence[Pair]) -> list[int]:
    """Positions of the points that no other point beats: none is at least as high in both and higher in one.

    Sorted by the first figure. Both figures are better when higher.

    >>> pareto_front([(0, 3), (1, 1), (2, 2), (3, 0)])
    [0, 2, 3]
    """
    _check(points)
    free = [
        index
        for index, (x, y) in enumerate(points)
        if not any((a >= x and b >= y) and (a > x or b > y) for a, b in points)
    ]
    return sorted(free, key=lambda index: points[index])


def knee(points: Sequence[Pair]) -> int:
    """Position of the point of the front that lies farthest beyond the line between its ends, both axes scaled to 1.

    Where the front is a point or two, or bends nowhere outwards, the first of the most balanced ones: the highest sum
    of both scaled figures.

    >>> knee([(0, 3), (2, 2.5), (3, 0)])
    1
    """
    front = pareto_front(points)
    scaled = {index: _scaled(points, index) for index in front}
    return max(front, key=lambda index: (round(sum(scaled[index]), 12), -index))


def _scaled(points: Sequence[Pair], index: int) -> Pair:
    """A point with the front's extent as the unit of both axes: its ends are (0, 1) and (1, 0)."""
    front = [points[other] for other in pareto_front(points)]
    lows, highs = [min(v) for v in zip(*front, strict=True)], [max(v) for v in zip(*front, strict=True)]
    x, y = ((v - low) / ((high - low) or 1) for v, low, high in zip(points[index], lows, highs, strict=True))
    return x, y


def _check(points: Sequence[Pair]) -> None:
    if not points or not all(math.isfinite(value) for point in points for value in point):
        raise InputError(f"a front needs finite pairs of figures, at least one; got {list(points)[:3]}")
