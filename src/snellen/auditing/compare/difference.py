"""What is compared of each run, and the difference of one figure: its interval, and how surely it rose or fell."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from snellen.checks.check import CheckFigure
from snellen.core.errors import InputError
from snellen.metrics.bootstrap import cluster_bootstrap, paired_bootstrap
from snellen.metrics.clustered import ClusteredMean, clustered_difference, clustered_mean
from snellen.metrics.incomplete_beta import student_t_probability
from snellen.metrics.paired_test import mcnemar
from snellen.metrics.units import dense_codes
from snellen.metrics.weighted import WeightedStatistic

#: Codes of the units of the images, (n,), or None when every image is its own unit.
Units = NDArray[np.int64] | None

#: Resamples of a figure that has no formula.
RESAMPLES = 400


@dataclass(frozen=True, eq=False)
class Mean:
    """Mean of a value per image, (n,) in [−1, 1], or any range when ``bounded`` is False."""

    values: NDArray[np.float64]
    bounded: bool = True

    @property
    def value(self) -> float:
        """The mean."""
        return float(self.values.mean())

    def alone(self, units: Units) -> ClusteredMean:
        """How certain it is from these images."""
        # From [−1, 1] to [0, 1] and back: the pseudo-units are 0 and 1 there, and pull towards neither end.
        if not self.bounded:
            return clustered_mean(self.values, units)
        return _scaled(clustered_mean(self.values, units, pseudo_units=1.0), self.value)

    def less(self, earlier: Mean, units: Units) -> ClusteredMean:
        """Self − earlier on the same images."""
        return Mean(self.values - earlier.values, self.bounded and earlier.bounded).alone(units)


@dataclass(frozen=True, eq=False)
class Gap:
    """Mean over the members less the mean over the others: values (n,) in [−1, 1], member (n,)."""

    values: NDArray[np.float64]
    member: NDArray[np.bool_]

    @property
    def value(self) -> float:
        """The gap."""
        return float(self.values[self.member].mean() - self.values[~self.member].mean())

    def alone(self, units: Units) -> ClusteredMean:
        """How certain it is from these images."""
        halved, member = (self.values + 1) / 2, self.member
        parts = (None, None) if units is None else (units[member], units[~member])
        found = clustered_difference(halved[member], halved[~member], *parts, pseudo_units=1.0)
        return _scaled(found, self.value, 2.0)

    def less(self, earlier: Gap, units: Units) -> ClusteredMean:
        """Self − earlier on the same images."""
        # The difference of two values in [−1, 1] that were 0 or 1 lies in [−1, 1] again.
        return Gap(self.values - earlier.values, self.member).alone(units)


@dataclass(frozen=True, eq=False)
class Stratified:
    """Mean of the means of strata, such as classes: values (n,), strata (n,)."""

    values: NDArray[np.float64]
    strata: NDArray[np.int64]

    @property
    def value(self) -> float:
        """The mean of means."""
        _, codes, sizes = np.unique(self.strata, return_inverse=True, return_counts=True)
        return float((np.bincount(codes, self.values) / sizes).mean())

    def alone(self, units: Units) -> ClusteredMean:
        """How certain it is: the mean of each image's influence, as :mod:`snellen.metrics.stratified` takes it."""
        _, codes, sizes = np.unique(self.strata, return_inverse=True, return_counts=True)
        means = np.bincount(codes, self.values) / sizes
        weights = len(self.values) / (len(sizes) * sizes)
        # A stratum of one image has no spread of its own: it takes that of the others.
        factors = np.sqrt(sizes / np.maximum(sizes - 1, 1)) * math.sqrt(len(sizes) / max((sizes > 1).sum(), 1))
        influence = (weights * factors)[codes] * (self.values - means[codes])
        return _scaled(clustered_mean(influence, units, pseudo_units=1.0), self.value)

    def less(self, earlier: Stratified, units: Units) -> ClusteredMean:
        """Self − earlier on the same images."""
        return Stratified(self.values - earlier.values, self.strata).alone(units)


@dataclass(frozen=True, eq=False)
class OfWeights:
    """A figure that only the bootstrap can bound: a function of the weights of ``n`` images."""

    statistic: WeightedStatistic
    n: int
    resamples: int = RESAMPLES

    @property
    def value(self) -> float:
        """The figure."""
        return self.statistic(np.ones(self.n))

    def alone(self, units: Units) -> ClusteredMean:
        """How certain it is from these images."""
        return self._spread(
            lambda rng: (
                cluster_bootstrap(
                    self.statistic, self.n, units, resamples=self.resamples, rng=rng, jackknife_groups=2
                ).standard_error
            ),
            self.value,
            units,
        )

    def less(self, earlier: OfWeights, units: Units) -> ClusteredMean:
        """Self − earlier on the same images."""
        return self._spread(
            lambda rng: (
                paired_bootstrap(
                    self.statistic,
                    earlier.statistic,
                    self.n,
                    units,
                    resamples=self.resamples,
                    rng=rng,
                    jackknife_groups=2,
                ).standard_error
            ),
            self.value - earlier.value,
            units,
        )

    def _spread(
        self, standard_error: Callable[[np.random.Generator], float], value: float, units: Units
    ) -> ClusteredMean:
        count = self.n if units is None else len(np.unique(units))
        try:
            error = standard_error(np.random.default_rng(0))
        except InputError:  # too few units, or resamples without the figure
            error = math.inf
        return ClusteredMean(value, error, max(count - 1.0, 1.0), self.n, count)


@dataclass(frozen=True)
class FromInterval:
    """A figure with a known 95 % interval and nothing else."""

    measured: CheckFigure

    @property
    def value(self) -> float:
        """The figure."""
        return self.measured.value

    def below(self) -> float:
        """Distance to the lower end, as a standard error."""
        return (self.value - self.measured.low) / Z

    def above(self) -> float:
        """Distance to the upper end, as a standard error."""
        return (self.measured.high - self.value) / Z


#: Half of a 95 % interval, in standard errors.
Z = NormalDist().inv_cdf(0.975)

#: What both runs must hold.
Estimate = Mean | Gap | Stratified | OfWeights | FromInterval


def _scaled(found: ClusteredMean, value: float, factor: float = 1.0) -> ClusteredMean:
    """The same certainty about the plain estimate: pseudo-units widen, but do not move the reported figure."""
    return ClusteredMean(value, found.standard_error * factor, found.degrees_of_freedom, found.n, found.units)


@dataclass(frozen=True)
class Difference:
    """Later run less earlier run.

    Attributes:
        first, second: the figure in each, on the images that are compared.
        low, high: 95 % interval of second − first; infinite ends when nothing is known.
        rise: one-sided p value of "it did not rise".
        fall: one-sided p value of "it did not fall".
        paired: whether both were taken on the same images.
        identical: whether not one image differs.
        n: images compared, of the later run where the images differ.
        remark: what a reader must know of it, such as why it is not paired.
    """

    first: float
    second: float
    low: float
    high: float
    rise: float
    fall: float
    paired: bool
    identical: bool
    n: int
    remark: str | None = None

    @property
    def value(self) -> float:
        """Second − first."""
        return self.second - self.first

    @property
    def p_value(self) -> float:
        """Two-sided: twice the smaller one."""
        return min(2 * min(self.rise, self.fall), 1.0)


def paired_difference(first: Estimate, second: Estimate, units: Units) -> Difference:
    """Difference on the same images, in the same order.

    Shares of right decisions of independent images are tested by McNemar's exact test, everything else by Student's t
    of the differences with a variance over units, or with that of the paired bootstrap over units.

    >>> before = Mean(np.ones(100))
    >>> lost = paired_difference(before, Mean(np.arange(100) >= 12), None)
    >>> round(lost.value, 2), lost.high < 0, round(lost.fall, 6), paired_difference(before, before, None).identical
    (-0.12, True, 0.000244, True)

    Args:
        first: of the earlier run.
        second: of the later one, of the same kind.
        units: (n,), code of each image's unit; None when each is its own.
    """
    if isinstance(first, Mean) and isinstance(second, Mean):
        found, changed = second.less(first, units), second.values - np.asarray(first.values, dtype=np.float64)
        result = _of(first, second, found, paired=True, identical=not changed.any())
        if units is None and np.isin(changed, (-1, 0, 1)).all():
            gained, lost = int((changed > 0).sum()), int((changed < 0).sum())
            return Difference(
                result.first,
                result.second,
                result.low,
                result.high,
                rise=mcnemar(gained, lost, alternative="greater"),
                fall=mcnemar(lost, gained, alternative="greater"),
                paired=True,
                identical=result.identical,
                n=result.n,
            )
        return result
    if isinstance(first, Gap) and isinstance(second, Gap):
        same = np.array_equal(first.values, second.values)
        return _of(first, second, second.less(first, units), paired=True, identical=same)
    if isinstance(first, Stratified) and isinstance(second, Stratified):
        same = np.array_equal(first.values, second.values)
        return _of(first, second, second.less(first, units), paired=True, identical=same)
    if isinstance(first, OfWeights) and isinstance(second, OfWeights):
        found = second.less(first, units)
        return _of(first, second, found, paired=True, identical=found.value == 0 and found.standard_error == 0)
    return unpaired_difference(first, second, units, units)


def unpaired_difference(first: Estimate, second: Estimate, first_units: Units, second_units: Units) -> Difference:
    """Difference between different images, or of figures with known intervals alone.

    Variances add. Where only intervals are known, the ends combine as their distances to the estimates do (Zou and
    Donner, Statistics in Medicine 27, 2008, 1693–1702). Of two figures on the same images this is cautious, as long as
    what is hard for one model is hard for the other.


    >>> half, more = (FromInterval(CheckFigure(value=v, low=v - 0.03, high=v + 0.03, n=9)) for v in (0.5, 0.6))
    >>> found = unpaired_difference(half, more, None, None)
    >>> round(found.low, 4), round(found.high, 4), found.rise < 0.001
    (0.0576, 0.1424, True)
    """
    if isinstance(first, FromInterval) or isinstance(second, FromInterval):
        return _of_intervals(_interval(first, first_units), _interval(second, second_units))
    if isinstance(first, Mean) and isinstance(second, Mean) and first.bounded and second.bounded:
        return _of(first, second, _apart(first, second, first_units, second_units), paired=False, identical=False)
    one, other = first.alone(first_units), second.alone(second_units)
    variances = one.standard_error**2, other.standard_error**2
    error = math.sqrt(sum(variances))
    freedom = sum(v**2 / d for v, d in zip(variances, (one.degrees_of_freedom, other.degrees_of_freedom), strict=True))
    degrees = sum(variances) ** 2 / freedom if 0 < freedom < math.inf else 1.0
    together = ClusteredMean(second.value - first.value, error, degrees, other.n, other.units)
    return _of(first, second, together, paired=False, identical=False)


def difference_of(first: Estimate, second: Estimate, units: Sequence[Units], *, paired: bool) -> Difference:
    """:func:`paired_difference` or :func:`unpaired_difference`.

    Args:
        first: of the earlier run.
        second: of the later one, of the same kind.
        units: of the images of each run; paired images have those of the first.
        paired: whether both were taken on the same images, in the same order.
    """
    if paired:
        return paired_difference(first, second, units[0])
    return unpaired_difference(first, second, units[0], units[1])


def _apart(first: Mean, second: Mean, first_units: Units, second_units: Units) -> ClusteredMean:
    """Second − first of different images, with pseudo-units of the ends of the range in each."""
    codes: tuple[Units, Units] = (None, None)
    if first_units is not None or second_units is not None:
        earlier = dense_codes(first_units, len(first.values))
        codes = earlier.max() + 1 + dense_codes(second_units, len(second.values)), earlier
    # Shares lie in [0, 1] and so do pseudo-units; losses of accuracy lie in [−1, 1] and are brought there.
    shares = min(first.values.min(), second.values.min()) >= 0
    later, before = (one.values if shares else (one.values + 1) / 2 for one in (second, first))
    found = clustered_difference(later, before, *codes, pseudo_units=1.0)
    factor = 1.0 if shares else 2.0
    error = found.standard_error * factor
    return ClusteredMean(second.value - first.value, error, found.degrees_of_freedom, len(second.values), found.units)


def _of(first: Estimate, second: Estimate, found: ClusteredMean, *, paired: bool, identical: bool) -> Difference:
    low, high = found.interval(0.95)
    return Difference(
        first.value,
        second.value,
        low,
        high,
        rise=_upper_tail(found.value, found),
        fall=_upper_tail(-found.value, found),
        paired=paired,
        identical=identical,
        n=found.n,
    )


def _upper_tail(value: float, found: ClusteredMean) -> float:
    if math.isinf(found.standard_error):
        return 1.0
    if found.standard_error == 0:
        return 0.0 if value > 0 else 1.0
    return student_t_probability(value / found.standard_error, found.degrees_of_freedom)


def _interval(estimate: Estimate, units: Units) -> FromInterval:
    if isinstance(estimate, FromInterval):
        return estimate
    found = estimate.alone(units)
    low, high = found.interval(0.95)
    return FromInterval(CheckFigure(value=estimate.value, low=low, high=high, n=found.n))


def _of_intervals(first: FromInterval, second: FromInterval) -> Difference:
    value = second.value - first.value
    below, above = math.hypot(second.below(), first.above()), math.hypot(second.above(), first.below())
    normal = NormalDist()

    def tail(distance: float, spread: float) -> float:
        if math.isinf(spread) or (spread == 0 and distance <= 0):
            return 1.0
        return 0.0 if spread == 0 else normal.cdf(-distance / spread)

    return Difference(
        first.value,
        second.value,
        value - Z * below,
        value + Z * above,
        rise=tail(value, below),
        fall=tail(-value, above),
        paired=False,
        identical=first.measured == second.measured,
        n=second.measured.n,
    )
