"""How far the expected calibration error of these images can be told from that of a calibrated model."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from snellen.metrics.calibration import ReliabilityBins
from snellen.metrics.intervals import wilson

#: Fewer images than this many a bin bound nothing from above.
IMAGES_PER_BIN = 2


@dataclass(frozen=True)
class CalibrationError:
    """Expected calibration error with what a calibrated model would show.

    Attributes:
        value: as usually reported (Guo et al. 2017, eq. 3); biased upwards, the more the fewer the images.
        if_calibrated: its mean were the stated confidences true.
        low: lower 97.5 % bound of the true error: 0 unless a calibrated model is rejected at 2.5 %.
        high: upper 97.5 % bound.
    """

    value: float
    if_calibrated: float
    low: float
    high: float


def calibration_error(
    confidence: NDArray[np.float64], correct: NDArray[np.float64], *, bins: int, resamples: int
) -> CalibrationError:
    """Estimate the expected calibration error and bound it.

    A calibrated model has an error too: consistency resampling (Bröcker and Smith 2007) draws outcomes from the stated
    confidences and shows how large. Its mean is the largest bias of the estimate, which vanishes as the true error
    grows, so the lower bound takes it off and the upper one does not. The bootstrap gives the spread.

    Args:
        confidence: largest probability of each image, (n,), n ≥ 1.
        correct: 1 where the prediction is right, else 0, (n,).
        bins: equal-width bins.
        resamples: of each kind; a fixed seed makes the result reproducible.
    """
    rng, n = np.random.default_rng(0), len(confidence)
    value = ReliabilityBins.of(confidence, correct, bins).ece
    calibrated = np.array(
        [ReliabilityBins.of(confidence, rng.random(n) < confidence, bins).ece for _ in range(resamples)]
    )
    chosen = rng.integers(0, n, (resamples, n))
    spread = float(np.std([ReliabilityBins.of(confidence[rows], correct[rows], bins).ece for rows in chosen]))
    bias = float(calibrated.mean())
    rejected = value > np.quantile(calibrated, 0.975)
    low = max(value - bias - 1.96 * spread, 0.0) if rejected else 0.0
    # Where all or no predictions are right, the bootstrap sees no spread: the accuracy itself is not that certain.
    off = max(abs(float(confidence.mean()) - end) for end in wilson(int(correct.sum()), n))
    high = max(value + 1.96 * spread, off) if n >= IMAGES_PER_BIN * bins else 1.0
    return CalibrationError(value, bias, low, min(high, 1.0))
