"""What a test could have seen: the smallest effect that it finds in nine of ten cases."""

from __future__ import annotations

import math

from scipy.optimize import brentq
from scipy.stats import chi2, ncx2, norm

#: Share of cases in which an effect of this size is found.
POWER = 0.9


def detectable_drop(count: int, others: int, share: float, alpha: float, power: float = POWER) -> float | None:
    """Smallest drop of a share that a one-sided test of two groups finds, by Cohen's arcsine approximation.

    Shares of p and q differ by h = 2 asin √p − 2 asin √q, whose error has variance 1/n + 1/m whatever p and q
    (Cohen 1988, chapter 6).

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
    width = float(norm.isf(alpha) + norm.ppf(power)) * math.sqrt(1 / count + 1 / others)
    angle = 2 * math.asin(math.sqrt(share))
    return None if width > angle else share - math.sin((angle - width) / 2) ** 2


def detectable_loss(count: int, alpha: float, power: float = POWER) -> float | None:
    """Smallest share of lost images that a one-sided test of the mean loss finds: rare losses of one image each.

    The sum of such losses has the variance of a Poisson count, so that (z_α + z_power)² lost images are enough.

    >>> round(detectable_loss(1000, 0.001), 4)
    0.0191

    Returns:
        The share, in (0, 1]; None where there are too few images for any.
    """
    enough = float(norm.isf(alpha) + norm.ppf(power)) ** 2
    return enough / count if count >= enough else None


def detectable_shift(variance: float, count: int, bins: int, alpha: float, power: float = POWER) -> float:
    """Smallest shift of all confidences that a chi-square test over bins finds.

    A shift of d moves each bin of n images by n d; the sum over bins of its square over the variance is
    d² · count / variance, the noncentrality of the statistic.

    >>> round(detectable_shift(0.15, 1000, 10, 0.001), 3)
    0.073

    Args:
        variance: mean of p (1 − p) over the images.
        count: independent images.
        bins: of the test, a degree of freedom each.
        alpha: level of the test.
        power: share of cases.
    """
    bar = chi2.isf(alpha, bins)
    needed = brentq(lambda shift: ncx2.sf(bar, bins, shift) - power, 1e-6, 1e4)
    return math.sqrt(float(needed) * variance / count)
