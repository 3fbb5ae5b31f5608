"""What a test could have seen: the smallest effect that it finds in nine of ten cases."""

from __future__ import annotations

import math
from statistics import NormalDist

#: Share of cases in which an effect of this size is found.
POWER = 0.9


def detectable_drop(count: int, others: int, share: float, alpha: float, power: float = POWER) -> float | None:
    """Smallest drop of a share that a one-sided test of two groups finds, by Cohen's arcsine approximation.

    Shares of p and q differ by h = 2 asin √p − 2 asin √q, whose error has variance 1/n + 1/m for all p and q (Cohen
    1988, chapter 6).

    >>> round(detectable_drop(100, 900, 0.93, 0.001), 3)
    0.158

    Args:
        count: independent images of the group.
        others: independent images elsewhere.
        share: of right decisions elsewhere, in [0, 1].
        alpha: level of the test, in (0, 1).
        power: share of cases, in (0, 1).

    Returns:
        The drop, in (0, share]; None where even a share of 0 would not be found so often.
    """
    if count < 1 or others < 1:
        return None
    width = _quantiles(alpha, power) * math.sqrt(1 / count + 1 / others)
    angle = 2 * math.asin(math.sqrt(share))
    return None if width > angle else share - math.sin((angle - width) / 2) ** 2


def detectable_loss(count: int, variance: float, alpha: float, power: float = POWER) -> float | None:
    """Smallest mean loss that a one-sided test finds, beside changes that cancel.

    A loss of one image more adds to the variance as a Poisson count does, so that a loss of d is found where
    d = (z_α + z_power) · √((variance + d) / n).

    >>> round(detectable_loss(1000, 0.0, 0.001), 4), round(detectable_loss(1000, 0.06, 0.001), 4)
    (0.0191, 0.0447)

    Args:
        count: independent images.
        variance: of one image's loss under the change at hand.
        alpha: level of the test, in (0, 1).
        power: share of cases, in (0, 1).

    Returns:
        The mean loss, in (0, 1]; None where even the loss of every image would not be found so often.
    """
    if count < 1:
        return None
    needed = _quantiles(alpha, power) ** 2 / count
    loss = (needed + math.sqrt(needed**2 + 4 * needed * variance)) / 2
    return loss if loss <= 1 else None


def detectable_shift(variance: float, count: int, bins: int, alpha: float, power: float = POWER) -> float:
    """Smallest shift of all confidences that a chi-square test over bins of equal variance finds.

    A shift of d moves a bin of n images by n d. The sum over bins of its square over the bin's variance is least where
    all bins hold as many images: d² count² / (bins · variance of a bin), the noncentrality of the statistic.

    >>> round(detectable_shift(15.0, 1000, 10, 0.001), 3)
    0.073

    Args:
        variance: that the test takes a bin to have.
        count: independent images.
        bins: of the test, a degree of freedom each.
        alpha: level of the test.
        power: share of cases.
    """
    # Not ``scipy.stats``, which takes longer to import than all of ours.
    from scipy.optimize import brentq
    from scipy.special import chdtri, chndtr

    bar = chdtri(bins, alpha)
    needed = brentq(lambda shift: 1 - power - chndtr(bar, bins, shift), 1e-6, 1e4)
    return math.sqrt(float(needed) * bins * variance) / count


def _quantiles(alpha: float, power: float) -> float:
    """z_α + z_power: how far apart two normal means must lie, in standard errors."""
    return NormalDist().inv_cdf(power) - NormalDist().inv_cdf(alpha)
