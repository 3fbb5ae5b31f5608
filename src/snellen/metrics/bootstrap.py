"""Bootstrap of whole units: intervals for figures that have no formula, when images of a unit are dependent."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from snellen.core.errors import InputError
from snellen.metrics.intervals import Interval
from snellen.metrics.units import dense_codes
from snellen.metrics.weighted import WeightedStatistic


@dataclass(frozen=True, eq=False)
class BootstrapSample:
    """A figure, and the same figure of resampled data.

    Attributes:
        value: the figure of the data.
        replicates: float64 (r,), ascending: the figure of each resample in which it exists.
        left_out: float64 (g,): the figure of the data without each unit, or each of at most 200 groups of units.
        undefined: resamples in which the figure does not exist (no image of a class, say); they count nowhere.
        units: units that were drawn from.
    """

    value: float
    replicates: NDArray[np.float64]
    left_out: NDArray[np.float64]
    undefined: int
    units: int

    @property
    def standard_error(self) -> float:
        """Standard deviation of the replicates."""
        return float(self.replicates.std(ddof=1))

    def percentile(self, confidence: float = 0.95) -> Interval:
        """Quantiles of the replicates (Efron 1979): (1 − confidence)/2 and (1 + confidence)/2.

        Too narrow by about √((G − 1)/G) for G units, and off for figures that are biased or skewed.

        Raises:
            InputError: confidence not strictly between 0 and 1.
        """
        tail = (1 - _checked(confidence)) / 2
        return self._between(tail, 1 - tail)

    def bca(self, confidence: float = 0.95) -> Interval:
        """Bias-corrected and accelerated interval (Efron, JASA 82, 1987, 171–185, equations 2.3 and 6.6).

        With z₀ the normal quantile of the share of replicates below the value (ties count half) and the acceleration
        a = Σ d³ / 6 (Σ d²)^{3/2}, d the mean of the left-out figures less each: the quantiles
        Φ(z₀ + (z₀ ± z) / (1 − a (z₀ ± z))) of the replicates.

        Raises:
            InputError: confidence not strictly between 0 and 1.
        """
        normal = NormalDist()
        z = -normal.inv_cdf((1 - _checked(confidence)) / 2)
        n = len(self.replicates)
        below = np.searchsorted(self.replicates, self.value, "left") + np.searchsorted(
            self.replicates, self.value, "right"
        )
        # A value beyond all replicates has an infinite z₀: half a replicate keeps it finite.
        bias = normal.inv_cdf(min(max(float(below) / 2, 0.5), n - 0.5) / n)
        away = self.left_out.mean() - self.left_out
        square = float((away**2).sum())
        acceleration = float((away**3).sum()) / (6 * square**1.5) if square > 0 else 0.0
        ends = []
        for side in (-z, z):
            stretch = 1 - acceleration * (bias + side)
            # Beyond its pole the formula turns round; the outermost replicate is what it comes from.
            ends.append(normal.cdf(bias + (bias + side) / stretch) if stretch > 0 else float(side > 0))
        return self._between(*ends)

    def _between(self, low: float, high: float) -> Interval:
        ends = np.quantile(self.replicates, [low, high])
        return Interval(float(ends[0]), float(ends[1]))


def cluster_bootstrap(
    statistic: WeightedStatistic,
    n: int,
    units: NDArray[np.int64] | None = None,
    *,
    resamples: int = 1000,
    rng: np.random.Generator,
    jackknife_groups: int = 200,
) -> BootstrapSample:
    """Draw as many units as there are, with replacement, and take the figure anew; again and again.

    The figure is a function of weights and not of rows: a unit drawn three times gives its images weight 3. What
    costs most in a figure, sorting scores or binning confidences, does not depend on weights, so it is done once
    (:mod:`snellen.metrics.weighted`). For the area under the ROC curve of 10,000 images that is about seven times as
    fast as sorting the drawn rows; a thousand resamples take about half a second.

    The left-out figures for :meth:`BootstrapSample.bca` are those without each unit; of more than ``jackknife_groups``
    units, those without each group of units, which have nearly the same acceleration. Units are grouped by their codes,
    so that with codes from :func:`snellen.metrics.units.unit_codes` all results are independent of the order of images.

    Limits: below about 20 units intervals are too narrow. A figure that is biased upwards for small samples, such as a
    calibration error near zero, is more so in resamples; :meth:`BootstrapSample.bca` takes off a part of that.

    >>> from snellen.metrics.weighted import weighted_mean
    >>> sample = cluster_bootstrap(weighted_mean([1, 1, 0, 0]), 4, rng=np.random.default_rng(0))
    >>> sample.value, sample.percentile()
    (0.5, Interval(low=0.0, high=1.0))

    Args:
        statistic: the figure; called with float64 (n,) weights. It may return NaN where the figure does not exist.
        n: images.
        units: (n,), code of the unit of each; None: every image is its own unit.
        resamples: how many; 1000 or more for 95 % intervals.
        rng: where the draws come from.
        jackknife_groups: at most so many left-out figures, two or more.

    Raises:
        InputError: fewer than two units, not as many codes as images, or a figure that does not exist for the data,
            or for more than half of the resamples.
    """
    codes = dense_codes(units, n)
    count = int(codes.max(initial=-1)) + 1
    if count < 2 or resamples < 2 or jackknife_groups < 2:
        raise InputError(
            f"a bootstrap needs two units, resamples and left-out groups at least; got {count}, {resamples} and "
            f"{jackknife_groups}. Images of one unit say nothing about other units"
        )
    value = statistic(np.ones(n))
    drawn = np.empty(resamples)
    for place in range(resamples):
        times = np.bincount(rng.integers(0, count, count), minlength=count).astype(np.float64)
        drawn[place] = statistic(times[codes])
    replicates = np.sort(drawn[np.isfinite(drawn)])
    if not math.isfinite(value) or 2 * len(replicates) < resamples:
        raise InputError(
            f"the figure of the data is {value}, and that of {resamples - len(replicates)} of {resamples} resamples "
            f"does not exist; it needs more data"
        )
    group = codes % min(count, jackknife_groups)
    left_out = np.array([statistic((group != one).astype(np.float64)) for one in range(group.max() + 1)])
    return BootstrapSample(value, replicates, left_out[np.isfinite(left_out)], resamples - len(replicates), count)


def paired_bootstrap(
    first: WeightedStatistic,
    second: WeightedStatistic,
    n: int,
    units: NDArray[np.int64] | None = None,
    *,
    resamples: int = 1000,
    rng: np.random.Generator,
    jackknife_groups: int = 200,
) -> BootstrapSample:
    """Bootstrap of a difference, first − second, of two models' figures on the same images.

    Both figures are taken of the same resample, so what makes both of them large or small cancels.

    >>> from snellen.metrics.weighted import weighted_mean
    >>> better, worse = weighted_mean([1, 1, 1, 0]), weighted_mean([1, 0, 1, 0])
    >>> paired_bootstrap(better, worse, 4, rng=np.random.default_rng(0)).value
    0.25

    Args and errors: see :func:`cluster_bootstrap`.
    """

    def difference(weights: NDArray[np.float64]) -> float:
        return first(weights) - second(weights)

    return cluster_bootstrap(difference, n, units, resamples=resamples, rng=rng, jackknife_groups=jackknife_groups)


def _checked(confidence: float) -> float:
    if not 0 < confidence < 1:
        raise InputError(f"confidence lies strictly between 0 and 1, got {confidence}")
    return confidence
