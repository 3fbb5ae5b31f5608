"""What the same images lose at each strength of one change: what corruptions and nuisances report alike."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from snellen.checks.check import Measured, Reading
from snellen.checks.eye_chart import Column, chance_level, column, retained
from snellen.checks.per_image import ABSENT, RIGHT
from snellen.metrics.clustered import ClusteredMean, clustered_mean, clustered_share

#: Of the two images that are added to the drops before the interval is taken, one is lost and one gained, as in the
#: adjusted Wald interval of Agresti and Min (2005) for paired shares. Two images that are both lost prove nothing.
PSEUDO_UNITS = 1.0


@dataclass(frozen=True, eq=False)
class Lost:
    """Right decisions lost on average over the strengths, of images that were measured at all of them.

    Attributes:
        paired: which images those are, bool (n,).
        before: share of them that is right without the change.
        after: share that is right at each strength, (strengths,).
        drop: mean loss, with pseudo-units.
    """

    paired: NDArray[np.bool_]
    before: float
    after: NDArray[np.float64]
    drop: ClusteredMean

    @property
    def mean(self) -> float:
        """The loss itself, without pseudo-units."""
        return self.before - float(self.after.mean())

    @property
    def worst(self) -> int:
        """Position of the strength at which the fewest images are right."""
        return int(self.after.argmin())


def lost_over(
    right: NDArray[np.bool_], outcomes: NDArray[np.int8], units: NDArray[np.int64] | None = None
) -> Lost | None:
    """Pair images with themselves; None where none was measured at every strength.

    Args:
        right: (n,), whether each is right without the change.
        outcomes: (strengths, n), see :meth:`snellen.checks.per_image.PerImage.outcomes`.
        units: (n,), code of each one's unit; None when each is its own.
    """
    paired: NDArray[np.bool_] = (outcomes != ABSENT).all(0)
    if not paired.any():
        return None
    kept = outcomes[:, paired] == RIGHT
    drop = clustered_mean(
        right[paired] - kept.mean(0), None if units is None else units[paired], pseudo_units=PSEUDO_UNITS
    )
    return Lost(paired, float(right[paired].mean()), kept.mean(1), drop)


def accuracy_at(outcomes: NDArray[np.int8], units: NDArray[np.int64] | None) -> Measured:
    """Accuracy at one strength, over the images that are not absent: outcomes (n,)."""
    known = outcomes != ABSENT
    right = outcomes[known] == RIGHT
    low, high = clustered_share(right, None if units is None else units[known])
    return Measured(value=float(right.mean()), low=low, high=high, n=len(right))


def chart_column(
    name: str, check: str, outcomes: NDArray[np.int8], severities: Sequence[float], reading: Reading
) -> Column | None:
    """A column of the eye chart: what is retained at each severity; None where nothing is defined."""
    images = reading.images
    chance = chance_level(images.labels[images.labelled], len(reading.names))
    cells = [
        retained(images.correct[known], after[known] == RIGHT, chance, severity, images.units_of(known))
        for severity, after in zip(severities, outcomes, strict=True)
        if (known := images.labelled & (after != ABSENT)).any()
    ]
    return column(name, check, cells)
