"""Which students are trained: nested sizes of real, synthetic and mixed images, each with the same seeds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from snellen.core.errors import InputError

#: The configuration of real images alone, and what stands behind the name of a setting in a mixture.
REAL, WITH_HALF, WITH_ALL = "real", " + half of the real images", " + all real images"

#: A curve has so many sizes, each twice the one before it.
SIZES = 4


@dataclass(frozen=True)
class Cell:
    """One student.

    Attributes:
        config: of its curve.
        setting: of the generator; None without synthetic images.
        real: real images of each class.
        made: synthetic images of each class.
        seed: of initial weights and order.
    """

    config: str
    setting: str | None
    real: int
    made: int
    seed: int


def nested_sizes(most: int, sizes: int = SIZES) -> tuple[int, ...]:
    """Images of each class at every point of a curve, ascending: halves of the largest.

    >>> nested_sizes(100), nested_sizes(3)
    ((12, 25, 50, 100), (1, 3))
    """
    return tuple(sorted({most // 2**power for power in range(sizes) if most // 2**power}))


def cells_of(settings: Sequence[str], real: int, made: int, seeds: int) -> list[Cell]:
    """All students of a plan: real alone, each setting alone, and both mixtures of each.

    Args:
        settings: of the generator.
        real: most real images of each class.
        made: most synthetic images of each class.
        seeds: students of each point.

    Raises:
        InputError: fewer than three sizes of a curve, or fewer than two seeds.
    """
    sizes, own = nested_sizes(made), nested_sizes(real)
    for what, found, most in (("synthetic", sizes, made), ("real", own, real)):
        if len(found) < 3:
            raise InputError(
                f"a power law needs three sizes, and {most} {what} images of each class give {len(found)}; it takes at "
                f"least 4 of each class"
            )
    if seeds < 2:
        raise InputError(f"an interval takes at least 2 seeds; got {seeds}")
    points: list[tuple[str, str | None, int, int]] = [(REAL, None, size, 0) for size in own]
    for setting in settings:
        points += [(setting, setting, 0, size) for size in sizes]
        # The mixtures' first points are the real curve's own: nothing is added there.
        points += [(f"{setting}{WITH_HALF}", setting, own[-2], size) for size in sizes]
        points += [(f"{setting}{WITH_ALL}", setting, own[-1], size) for size in sizes]
    return [Cell(*point, seed) for point in points for seed in range(seeds)]
