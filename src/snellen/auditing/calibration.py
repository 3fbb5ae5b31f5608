"""How far the calibration error of these images can be told from that of a calibrated model."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from snellen.metrics.bootstrap import cluster_bootstrap
from snellen.metrics.clustered import clustered_share
from snellen.metrics.incomplete_beta import regularised_incomplete_beta
from snellen.metrics.weighted import weighted_calibration_error
from snellen.metrics.weighted_adaptive import weighted_adaptive_calibration_error

#: Fewer images than this many a bin bound nothing from above.
IMAGES_PER_BIN = 2

#: Bins of the test hold at least so much variance of the outcomes, and there are at most so many.
VARIANCE_PER_BIN, TEST_BINS = 5.0, 10
#: … and at least so many units, where images come in units.
UNITS_PER_BIN = 20

#: Added to the variance of each bin: among a hundred images that are sure to 99.9 % one error is no proof.
EXTRA_VARIANCE = 0.5


@dataclass(frozen=True)
class CalibrationError:
    """Expected calibration error with what a calibrated model would show.

    Attributes:
        value: as usually reported (Guo et al. 2017, eq. 3; in bins of equal mass Nixon et al. 2019); biased upwards,
            the more the fewer the images.
        if_calibrated: its mean were the stated confidences true.
        spread: standard error, by the bootstrap over units.
        high: upper 97.5 % bound.
        p_value: of outcomes as far from the confidences if the model is calibrated.
    """

    value: float
    if_calibrated: float
    spread: float
    high: float
    p_value: float

    def lower(self, confidence: float) -> float:
        """One-sided lower bound of the true error: the largest bias is taken off."""
        if math.isinf(self.spread):
            return 0.0
        return max(self.value - self.if_calibrated - NormalDist().inv_cdf(confidence) * self.spread, 0.0)


def calibration_error(
    confidence: NDArray[np.float64],
    correct: NDArray[np.bool_],
    units: NDArray[np.int64] | None = None,
    *,
    bins: int,
    resamples: int,
    equal_mass: bool = False,
) -> CalibrationError:
    """Estimate the expected calibration error and bound it.

    A calibrated model has an error too: consistency resampling (Bröcker and Smith 2007) draws outcomes from the stated
    confidences and shows how large; where outcomes within a unit go together, it is scaled by the square root of the
    design effect. Its mean is the largest bias of the estimate, which vanishes as the true error grows, so the lower
    bound takes it off and the upper one does not. The bootstrap over units gives the spread.

    Args:
        confidence: largest probability of each image, (n,), n ≥ 1.
        correct: whether each prediction is right, (n,).
        units: (n,), code of each image's unit; None when each is its own.
        bins: how many.
        equal_mass: bins hold equal numbers of images in place of equal widths of confidence (the adaptive error).
        resamples: of each kind; a fixed seed makes the result reproducible.
    """
    rng, n = np.random.default_rng(0), len(confidence)
    outcomes = correct.astype(np.float64)
    figure = weighted_adaptive_calibration_error if equal_mass else weighted_calibration_error
    statistic, whole = figure(confidence, outcomes, bins), np.ones(n)
    value = statistic(whole)
    calibrated = [figure(confidence, rng.random(n) < confidence, bins)(whole) for _ in range(resamples)]
    p_value, design_effect = calibration_test(confidence, correct, units)
    spread = math.inf
    if n > 1 and (units is None or len(np.unique(units)) > 1):
        spread = cluster_bootstrap(statistic, n, units, resamples=resamples, rng=rng, jackknife_groups=2).standard_error
    bias = float(np.mean(calibrated)) * design_effect**0.5
    # Where all or no predictions are right, the bootstrap sees no spread: the accuracy itself is not that certain.
    off = max(abs(float(confidence.mean()) - end) for end in clustered_share(correct, units))
    enough = n >= IMAGES_PER_BIN * bins and math.isfinite(spread)
    high = max(value + 1.96 * spread, off) if enough else 1.0
    return CalibrationError(value, bias, spread, min(high, 1.0), p_value)


def calibration_test(
    confidence: NDArray[np.float64], correct: NDArray[np.bool_], units: NDArray[np.int64] | None = None
) -> tuple[float, float]:
    """Test that outcomes follow the stated confidences: p value, and the design effect of the units (1 or more).

    Hosmer and Lemeshow's statistic, Σ_m (right_m − expected_m)² / variance_m, over bins of equal variance Σ p (1 − p);
    no parameter is fitted, so there is a degree of freedom for each bin. Outcomes of a unit go together: the variance
    of a bin is then that of the units' sums, where that is larger, the bins hold 20 units or more on average, and the
    statistic follows Fisher's F with as many degrees of freedom as a bin has units, less one.

    >>> sure = np.full(400, 0.9)
    >>> calibration_test(sure, np.arange(400) < 360)[0], calibration_test(sure, np.arange(400) < 300)[0] < 1e-6
    (1.0, True)
    """
    # Equal confidences share a bin, so that the order of the images cannot matter.
    _, rank = np.unique(confidence, return_inverse=True)
    own = np.bincount(rank, confidence * (1 - confidence))
    whole = max(float(own.sum()), 1e-12)
    # What a bin must hold is counted as if all images of a unit went together.
    size = 1.0 if units is None else len(units) / len(np.unique(units))
    most = TEST_BINS if units is None else min(TEST_BINS, int(len(units) / size) // UNITS_PER_BIN)
    count = int(np.clip(whole / size // VARIANCE_PER_BIN, 1, max(most, 1)))
    middle = (np.cumsum(own) - own / 2) / whole
    place = np.minimum((middle * count).astype(np.int64), count - 1)[rank]
    misses = correct - confidence
    expected = np.bincount(place, confidence * (1 - confidence), minlength=count)
    variance, freedom = expected, float(len(confidence) - count)
    if units is not None:
        _, cells = np.unique(units * count + place, return_inverse=True)
        sums = np.bincount(cells, misses)
        bin_of = np.zeros(len(sums), dtype=np.int64)
        bin_of[cells] = place
        variance = np.maximum(expected, np.bincount(bin_of, sums**2, minlength=count))
        freedom = len(sums) / count - 1
    design_effect = float(variance.sum() / expected.sum()) if expected.sum() > 0 else 1.0
    extra = EXTRA_VARIANCE * size**2
    statistic = float((np.bincount(place, misses, minlength=count) ** 2 / (variance + extra)).sum())
    rest = max(freedom, 1.0)
    return regularised_incomplete_beta(rest / (rest + statistic), rest / 2, count / 2), max(design_effect, 1.0)
