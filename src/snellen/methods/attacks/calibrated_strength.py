"""The size of an attack at which it has a wanted success: what makes attacks in different spaces comparable."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from snellen.core.errors import InputError


class Calibrated(NamedTuple):
    """A size and what was measured at it.

    Attributes:
        epsilon: the size.
        success: share of the images broken at it.
        evaluations: sizes that were tried.
        reached: whether the success lies within the tolerance of the wanted one, or is the least distinct one above it
            (neighbouring sizes jump over it).
    """

    epsilon: float
    success: float
    evaluations: int
    reached: bool


def calibrate(
    success_at: Callable[[float], float],
    *,
    wanted: float,
    start: float,
    tolerance: float = 0.01,
    most: int = 14,
    ceiling: float | None = None,
) -> Calibrated:
    """Bisect for the size whose success is ``wanted``, within a tolerance of one point.

    The size is doubled or halved until success lies on both sides of what is wanted, then bisected geometrically.
    Of sizes that miss the tolerance, the smallest one above is returned.

    >>> found = calibrate(lambda size: min(size / 8, 1.0), wanted=0.95, start=0.1)
    >>> 0.94 <= found.success <= 0.96, found.reached
    (True, True)

    Args:
        success_at: size → share in [0, 1], about increasing.
        wanted: share in (0, 1].
        start: the first size that is tried, above 0.
        tolerance: in shares.
        most: evaluations at most.
        ceiling: largest size that makes sense (1 for pixels in L-infinity); None for none.

    Raises:
        InputError: a share, size or number out of range.
    """
    if not 0 < wanted <= 1 or not start > 0 or most < 2 or not 0 < tolerance < 1:
        raise InputError(
            f"a calibration takes 0 < wanted <= 1, start > 0, 0 < tolerance < 1 and most >= 2; got wanted={wanted}, "
            f"start={start}, tolerance={tolerance}, most={most}"
        )
    tried: dict[float, float] = {}
    below, above, size = 0.0, float("inf"), start
    for _ in range(most):
        success = tried[size] = success_at(size)
        if abs(success - wanted) <= tolerance:
            return Calibrated(size, success, len(tried), True)
        if success < wanted:
            below = max(below, size)
        else:
            above = min(above, size)
        if above < float("inf") and below > 0:
            if above / below < 1.01:
                break
            size = (above * below) ** 0.5
        else:
            size = size / 2 if above < float("inf") else size * 2
        if ceiling is not None and size >= ceiling:
            size = ceiling
            if size in tried:
                break
    enough = [one for one, share in tried.items() if share >= wanted - tolerance]
    chosen = min(enough) if enough else max(tried, key=lambda one: (tried[one], -one))
    return Calibrated(chosen, tried[chosen], len(tried), bool(enough) and above / max(below, 1e-300) < 1.02)
