"""How much worse are some images than the rest, and than the rest of their class? By unit where images depend."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from snellen.core.errors import InputError
from snellen.metrics.clustered import ClusteredMean, clustered_difference
from snellen.metrics.incomplete_beta import student_t_probability
from snellen.metrics.intervals import newcombe_difference


@dataclass(frozen=True)
class ExcessLoss:
    """Mean loss of a group beside that of the rest.

    Attributes:
        inside_n: images of the group.
        inside_loss: sum of their losses; errors, when losses are 0 and 1.
        outside_n: images of the rest.
        outside_loss: sum of their losses.
        p_value: one-sided, of "the group is no worse than the rest".
        gap_within_classes: mean over classes of the gap within each, weighted by n₁ n₀ / (n₁ + n₀) of its images inside
            and outside (Mantel and Haenszel 1959); NaN where no class lies on both sides.
        p_within_classes: one-sided, of "within each class the group is no worse"; 1 where no class lies on both sides.
        by_unit: the gap with its standard error by unit, for fractional losses or dependent images; None where losses
            are 0 and 1 and images independent, so that counts say all, and where one side is empty.
    """

    inside_n: int
    inside_loss: float
    outside_n: int
    outside_loss: float
    p_value: float
    gap_within_classes: float
    p_within_classes: float
    by_unit: ClusteredMean | None

    @property
    def inside(self) -> float:
        """Mean loss of the group; NaN for an empty group."""
        return self.inside_loss / self.inside_n if self.inside_n else float("nan")

    @property
    def outside(self) -> float:
        """Mean loss of the rest; NaN for an empty rest."""
        return self.outside_loss / self.outside_n if self.outside_n else float("nan")

    @property
    def gap(self) -> float:
        """Mean loss of the group less that of the rest; NaN where one is empty."""
        return self.inside - self.outside

    def lower(self, confidence: float = 0.95) -> float:
        """One-sided lower bound of the gap that holds with this confidence; −1 where one side is empty.

        Newcombe's interval for independent errors, else Student's t by unit. The bound does not know how many groups
        were tested: for those picked from many, ask for a higher confidence.

        Raises:
            InputError: confidence not between 0.5 and 1.
        """
        if not 0.5 < confidence < 1:
            raise InputError(f"the confidence of a one-sided bound lies between 0.5 and 1, got {confidence}")
        if not self.inside_n or not self.outside_n:
            return -1.0
        if self.by_unit is not None:
            return max(self.by_unit.lower(confidence), -1.0)
        counts = (round(self.inside_loss), self.inside_n, round(self.outside_loss), self.outside_n)
        return newcombe_difference(*counts, confidence=2 * confidence - 1).low


def excess_loss(
    losses: NDArray[np.float64], inside: NDArray[np.bool_], *, units: NDArray[np.int64], classes: NDArray[np.int64]
) -> ExcessLoss:
    """Compare the losses of a group with those of the rest.

    Errors (0 or 1) of independent images: the exact conditional test; over one stratum that is Fisher's (1935), over
    classes the exact test of a common odds ratio (Birch 1964). Else a score test by unit: with residuals from the mean
    of each class, Σ over units of U = Σ (member − share of members)(loss − mean), over √Σ U², against Student's t.

    >>> first, all_units = np.arange(8) < 4, np.arange(8)
    >>> found = excess_loss(np.array([1.0, 1, 1, 0, 1, 0, 0, 0]), first, units=all_units, classes=np.zeros(8, int))
    >>> round(found.gap, 3), round(found.p_value, 4), found.p_value == found.p_within_classes
    (0.5, 0.2429, True)

    Args:
        losses: (n,) in [0, 1].
        inside: (n,), which images form the group.
        units: (n,), images of one unit are dependent.
        classes: (n,), true classes.
    """
    counted = len(np.unique(units)) == len(units) and bool(np.isin(losses, (0.0, 1.0)).all())
    one = np.zeros(len(losses), dtype=np.int64)
    test = _exact if counted else _by_unit
    n, rest = int(inside.sum()), int((~inside).sum())
    lost, lost_outside = float(losses[inside].sum()), float(losses[~inside].sum())
    within, whole = _strata(losses, inside, classes), _strata(losses, inside, one)
    weights = within.inside_n * within.outside_n / np.maximum(within.n, 1)
    gaps = within.inside_loss / np.maximum(within.inside_n, 1) - within.outside_loss / np.maximum(within.outside_n, 1)
    spread = None
    if not counted and n and rest:
        spread = clustered_difference(losses[inside], losses[~inside], units[inside], units[~inside], pseudo_units=1)
    return ExcessLoss(
        n,
        lost,
        rest,
        lost_outside,
        p_value=test(whole, losses, inside, units),
        gap_within_classes=float(weights @ gaps / weights.sum()) if weights.sum() else float("nan"),
        p_within_classes=test(within, losses, inside, units),
        by_unit=spread,
    )


@dataclass(frozen=True, eq=False)
class _Strata:
    place: NDArray[np.int64]
    n: NDArray[np.int64]
    inside_n: NDArray[np.int64]
    loss: NDArray[np.float64]
    inside_loss: NDArray[np.float64]

    @property
    def outside_n(self) -> NDArray[np.int64]:
        return self.n - self.inside_n

    @property
    def outside_loss(self) -> NDArray[np.float64]:
        return self.loss - self.inside_loss


def _strata(losses: NDArray[np.float64], inside: NDArray[np.bool_], codes: NDArray[np.int64]) -> _Strata:
    place = np.unique(codes, return_inverse=True)[1]
    count = int(place.max(initial=-1)) + 1
    return _Strata(
        place,
        np.bincount(place, minlength=count),
        np.bincount(place[inside], minlength=count),
        np.bincount(place, losses, minlength=count).astype(np.float64),
        np.bincount(place[inside], losses[inside], minlength=count).astype(np.float64),
    )


def _exact(strata: _Strata, losses: NDArray[np.float64], inside: NDArray[np.bool_], units: NDArray[np.int64]) -> float:
    """Probability of as many errors inside, given each stratum's totals: hypergeometric laws, convolved."""
    from scipy.stats import hypergeom

    law, shift = np.ones(1), 0
    for n, inside_n, wrong in zip(
        strata.n.tolist(), strata.inside_n.tolist(), strata.loss.round().tolist(), strict=True
    ):
        low, high = max(0, inside_n + int(wrong) - n), min(inside_n, int(wrong))
        law = np.convolve(law, np.exp(hypergeom.logpmf(np.arange(low, high + 1), n, int(wrong), inside_n)))
        shift += low
    return float(min(law[round(float(strata.inside_loss.sum())) - shift :].sum(), 1.0))


def _by_unit(
    strata: _Strata, losses: NDArray[np.float64], inside: NDArray[np.bool_], units: NDArray[np.int64]
) -> float:
    share, mean = strata.inside_n / np.maximum(strata.n, 1), strata.loss / np.maximum(strata.n, 1)
    parts = (inside - share[strata.place]) * (losses - mean[strata.place])
    sums = np.bincount(np.unique(units, return_inverse=True)[1], parts)
    spread = math.sqrt(math.fsum(sums**2))
    degrees = min(len(np.unique(units[inside])), len(np.unique(units[~inside]))) - 1
    if spread <= 1e-12 or degrees < 1:
        return 1.0
    return student_t_probability(math.fsum(sums) / spread, degrees)
