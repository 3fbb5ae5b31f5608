"""Intervals of what selective prediction promises: the area under the risk-coverage curve, and a coverage at a risk."""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike, NDArray

from snellen.core.errors import InputError
from snellen.metrics.clustered import clustered_share
from snellen.metrics.intervals import Interval
from snellen.metrics.matched_beta import matched_beta_interval
from snellen.metrics.selective import RiskCoverage
from snellen.metrics.unit_jackknife import design_effect, effective_units
from snellen.metrics.units import dense_codes

#: What one more wrong image would add to the area, in images: twice the mean of −log coverage over all images.
ADDED_IMAGES = 2.0

#: Thresholds that are tried for a coverage, and the share of the risk that the surest images must prove, all right.
THRESHOLDS, PROVABLE = 50, 0.7

#: Confidence of the risk at a threshold and of the coverage of a threshold; what they leave adds up to 6 % at most.
RISK_CONFIDENCE, COVERAGE_CONFIDENCE = 0.95, 0.99


def area_interval(
    confidence: ArrayLike, correct: ArrayLike, units: NDArray[np.int64] | None = None, *, level: float = 0.95
) -> Interval:
    """Interval of :attr:`snellen.metrics.selective.RiskCoverage.area`, images in units.

    The area is the mean of e_i · (−log q_i), with e_i whether an image is wrong and q_i the coverage at which it is
    answered. Its influence function, e_i (−log q_i) − area + error − Σ_{q_j ≥ q_i} e_j / rank_j, summed over units,
    gives the variance, and :func:`snellen.metrics.matched_beta.matched_beta_interval` the ends: wrong images are rare
    and weigh unequally, so that neither resamples nor the normal distribution hold.

    Coverage at 95 %, by simulation: 94 % to 99 % for 30, 100 and 1000 images and for 20 and 60 units of 8, with errors
    from 0.7 % to 36 % and confidence with much, little or no information; 94 % for 20 units of 30 that are half alike.

    >>> [round(end, 3) for end in area_interval([0.9, 0.8, 0.7, 0.6] * 10, [True] * 40)]
    [0.0, 0.189]

    Args:
        confidence: (n,), higher when surer, below infinity.
        correct: (n,) bool or integers 0 and 1.
        units: (n,), code of the unit of each; None: every image is its own unit. A single unit gives [0, 1].
        level: confidence of the interval, in (0, 1).

    Raises:
        InputError: wrong shapes or values, or no images.
    """
    sure, wrong, codes = _checked(confidence, correct, units)
    n, sizes = len(sure), np.bincount(codes).astype(np.float64)
    area = RiskCoverage.of(sure, 1 - wrong).area
    if len(sizes) == 1:
        return Interval(0.0, 1.0)
    moves = np.bincount(codes, _influence(sure, wrong)) / (n - sizes)
    variance = float((moves**2).sum()) * (len(sizes) - 1) / len(sizes)
    added = ADDED_IMAGES * design_effect(wrong.astype(np.float64), codes) / n
    return matched_beta_interval(area, variance, added=added, degrees=effective_units(sizes) - 1, confidence=level)


def coverage_interval(
    confidence: ArrayLike, correct: ArrayLike, risk: float, units: NDArray[np.int64] | None = None
) -> Interval:
    """95 % interval of the largest coverage at which the true risk is at most ``risk``.

    The estimate jumps with single errors, and resamples do not follow it: the interval comes from tests. Of up to 50
    thresholds, all those count as possible whose risk is not refuted (95 % intervals of the share of wrong images,
    :func:`snellen.metrics.clustered.clustered_share`). The upper end is the last threshold whose risk may be as small
    as ``risk``; the lower one the last before a risk may be larger, from the first threshold on at which no error at
    all would prove 0.7 · ``risk``. The ends are moved outwards by the 99 % interval of the share of images that
    each threshold answers. It is assumed that the true risk grows with coverage.

    By design, each end errs in at most 3 %; by simulation in 0 to 2 %. It is wide: without hundreds of
    images nobody knows how much can be answered at a risk of 1 %, and the lower end is 0.

    >>> sure, right = np.linspace(1, 0.5, 2000), np.arange(2000) % 20 != 19
    >>> right[:1000] = True
    >>> [round(end, 2) for end in coverage_interval(sure, right, 0.02)]
    [0.63, 1.0]

    Args:
        confidence: (n,), higher when surer, below infinity.
        correct: (n,) bool or integers 0 and 1.
        risk: in (0, 1).
        units: (n,), code of the unit of each; None: every image is its own unit.

    Raises:
        InputError: wrong shapes or values, or no images.
    """
    sure, wrong, codes = _checked(confidence, correct, units)
    if not 0 < risk < 1:
        raise InputError(f"risk lies strictly between 0 and 1, got {risk}; 5 % is 0.05")
    n, order = len(sure), np.argsort(-sure, kind="stable")
    sure, wrong, codes = sure[order], wrong[order], codes[order]
    ends = np.flatnonzero(np.append(sure[1:] < sure[:-1], True)) + 1
    answered = ends[np.unique(np.linspace(0, len(ends) - 1, THRESHOLDS).round().astype(int))]
    risks = np.array([clustered_share(wrong[:end], codes[:end], RISK_CONFIDENCE) for end in answered])
    # From the first threshold on that can prove anything, the first failure ends what is proven.
    start = next(
        (
            place
            for place, end in enumerate(answered)
            if clustered_share(np.zeros(end), codes[:end], RISK_CONFIDENCE).high <= PROVABLE * risk
        ),
        len(answered),
    )
    failed = np.flatnonzero(risks[start:, 1] > risk)
    last = start + (int(failed[0]) if len(failed) else len(answered) - start) - 1
    low = int(answered[last]) if last >= start else 0
    possible = np.flatnonzero(risks[:, 0] <= risk)
    high = int(answered[min(int(possible[-1]) + 1, len(answered) - 1)]) if len(possible) else int(answered[0])
    reached = np.arange(n)
    return Interval(
        1.0 if low == n else clustered_share(reached < low, codes, COVERAGE_CONFIDENCE).low,
        1.0 if high == n else clustered_share(reached < high, codes, COVERAGE_CONFIDENCE).high,
    )


def least_images(risk: float) -> int:
    """Independent images without which no interval of a coverage begins above 0, be all of them right.

    With z of the normal distribution, z² · (1 / (0.7 · risk) − 1): Wilson's upper end for no error in n images is
    z² / (n + z²).

    >>> least_images(0.01), least_images(0.05)
    (545, 106)

    Args:
        risk: in (0, 1).
    """
    z = NormalDist().inv_cdf((1 + RISK_CONFIDENCE) / 2)
    return math.ceil(z**2 * (1 / (PROVABLE * risk) - 1))


def _influence(sure: NDArray[np.float64], wrong: NDArray[np.int64]) -> NDArray[np.float64]:
    """How each image moves the area times n, (n,); ties share their ranks."""
    n = len(sure)
    _, place = np.unique(-sure, return_inverse=True)
    images = np.bincount(place).astype(np.float64)
    errors = np.bincount(place, wrong)
    end = np.cumsum(images)
    start = end - images
    # Mean of −log q over the ranks of a group, and of 1 / rank.
    weight = (_integral(end / n) - _integral(start / n)) * n / images
    steps = np.log(end / np.maximum(start, 0.5)) * errors / images
    after = np.cumsum(steps[::-1])[::-1]
    area, error = float(errors @ weight) / n, float(errors.sum()) / n
    return wrong * weight[place] - area + error - after[place]


def _integral(share: NDArray[np.float64]) -> NDArray[np.float64]:
    """∫ −log q dq from 0."""
    return share - share * np.log(np.maximum(share, 1e-300))


def _checked(
    confidence: ArrayLike, correct: ArrayLike, units: NDArray[np.int64] | None
) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.int64]]:
    sure, right = np.asarray(confidence, dtype=np.float64), np.asarray(correct)
    if not RiskCoverage.of(sure, right).n:
        raise InputError("an interval needs one image at least, got none")
    return sure, 1 - right.astype(np.int64), dense_codes(units, len(sure))
