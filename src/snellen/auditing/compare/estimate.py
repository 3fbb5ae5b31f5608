"""What is compared of each run: a mean, a gap between two groups, a mean of classes, or any figure of weights."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from snellen.checks.check import Measured
from snellen.core.errors import InputError
from snellen.metrics.bootstrap import cluster_bootstrap, paired_bootstrap
from snellen.metrics.clustered import ClusteredMean, clustered_difference, clustered_mean
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
        # A stratum of one image tells nothing of its spread: it takes that of the others.
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
    """A figure of which nothing but its 95 % interval is known."""

    measured: Measured

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

#: What both runs are asked for.
Estimate = Mean | Gap | Stratified | OfWeights | FromInterval


def _scaled(found: ClusteredMean, value: float, factor: float = 1.0) -> ClusteredMean:
    """The same certainty about the plain estimate: pseudo-units widen, but do not move what is told."""
    return ClusteredMean(value, found.standard_error * factor, found.degrees_of_freedom, found.n, found.units)
