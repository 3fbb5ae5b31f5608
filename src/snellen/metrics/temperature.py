"""One number that makes a classifier as sure as it is right: temperature scaling."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from snellen.core.errors import InputError

Ended = Literal["inside", "lowest", "highest", "flat"]

#: Scores handled at a time: 8 MB in float64, and a few such arrays at once.
_CHUNK = 2**20


@dataclass(frozen=True)
class FittedTemperature:
    """Temperature and what it is worth on the images that it was fitted to.

    Attributes:
        temperature: divide scores by it before the softmax; above 1, the classifier was too sure.
        ended: ``inside`` at the minimum; ``lowest`` or ``highest`` when the likelihood still improves at that bound;
            ``flat`` when every image has equal scores for all classes and no temperature changes anything (it is 1).
        before: mean negative log-likelihood at temperature 1, nats.
        after: the same at the fitted temperature.
    """

    temperature: float
    ended: Ended
    before: float
    after: float


def fit_temperature(
    logits: ArrayLike, labels: ArrayLike, *, lowest: float = 1e-3, highest: float = 1e3
) -> FittedTemperature:
    """Find the temperature of the least negative log-likelihood (Guo et al. 2017, section 4.2).

    With β = 1/T the mean of log Σ_j exp(β z_j) − β z_y is convex in β: its slope is the mean of E[z] − z_y and its
    curvature the mean variance of z, both under softmax(β z). Newton steps on the slope, each kept inside a bracket of
    the minimum, replaced by halving the bracket (in log β) when they leave it.

    Where the label's score is the largest for every image, the likelihood improves without end as T falls to 0; where
    on average it is below the mean score, without end as T grows. The bound is returned then, and ``ended`` says so.

    Sums over images are exactly rounded, so that the order of the images does not matter beyond the rounding of
    one image's own terms. Memory: the logits, a byte for each of them, 64 bytes for each image, and about 40 MB.

    >>> fitted = fit_temperature([[4.0, 0.0], [4.0, 0.0], [4.0, 0.0], [4.0, 0.0]], [0, 0, 0, 1])
    >>> round(fitted.temperature, 4), fitted.ended  # three of four are right: log 3 = 4 / T
    (3.641, 'inside')

    Args:
        logits: (n, k), finite; log-probabilities do as well.
        labels: int (n,) in 0 … k−1.
        lowest: smallest temperature, above 0.
        highest: largest temperature.

    Raises:
        InputError: wrong shapes or values, or no images.
    """
    scores, truth = _checked(logits, labels)
    if not 0 < lowest < highest < math.inf:
        raise InputError(f"bounds of the temperature must be 0 < lowest < highest, got {lowest} and {highest}")
    if not len(truth):
        raise InputError("a temperature cannot be fitted to no images; pass at least one, better hundreds")
    before = negative_log_likelihood(scores, truth)
    if all(np.ptp(chunk, axis=1).max() == 0 for chunk, _ in _chunks(scores, truth)):
        return FittedTemperature(1.0, "flat", before, before)
    bracket = 1 / highest, 1 / lowest
    ended: Ended = "inside"
    # At a distant bound both slopes may have vanished by underflow; what remains there is perfect separation.
    if _slope_and_curvature(scores, truth, bracket[1])[0] <= 0:
        temperature, ended = lowest, "lowest"
    elif _slope_and_curvature(scores, truth, bracket[0])[0] >= 0:
        temperature, ended = highest, "highest"
    else:
        temperature = 1 / _minimum(scores, truth, *bracket)
    return FittedTemperature(temperature, ended, before, negative_log_likelihood(scores, truth, temperature))


def negative_log_likelihood(logits: ArrayLike, labels: ArrayLike, temperature: float = 1.0) -> float:
    """Mean of −log softmax(logits / T) at the labels, in nats.

    >>> round(negative_log_likelihood([[2.0, 0.0]], [0], 2.0), 4)
    0.3133

    Args:
        logits: (n, k), finite.
        labels: int (n,) in 0 … k−1.
        temperature: T, above 0.

    Returns:
        At least 0; NaN when there are no images.

    Raises:
        InputError: wrong shapes or values.
    """
    scores, truth = _checked(logits, labels)
    _check_temperature(temperature)
    losses: list[float] = []
    for chunk, at_label in _chunks(scores, truth):
        scaled = (chunk - at_label[:, None]) / temperature
        top = scaled.max(1)
        losses.extend((top + np.log(np.exp(scaled - top[:, None]).sum(1))).tolist())
    return math.fsum(losses) / len(losses) if losses else float("nan")


def tempered_probabilities(logits: ArrayLike, temperature: float) -> NDArray[np.float64]:
    """softmax(logits / T): the order of the classes stays, how sure the classifier is changes.

    >>> tempered_probabilities([[2.0, 0.0]], 2.0).round(4).tolist()
    [[0.7311, 0.2689]]

    Args:
        logits: (n, k), finite.
        temperature: T, above 0.

    Returns:
        float64 (n, k), rows of sum 1.

    Raises:
        InputError: wrong shapes or values.
    """
    scores = _finite(logits)
    _check_temperature(temperature)
    exact = scores.astype(np.float64)
    weights = np.exp((exact - exact.max(1, keepdims=True)) / temperature)
    return weights / weights.sum(1, keepdims=True)


def _minimum(scores: NDArray[np.floating], truth: NDArray[np.int64], low: float, high: float) -> float:
    inverse = min(max(1.0, low), high)
    for _ in range(200):
        slope, curvature = _slope_and_curvature(scores, truth, inverse)
        if slope == 0:
            return inverse
        low, high = (inverse, high) if slope < 0 else (low, inverse)
        newton = inverse - slope / curvature if curvature > 0 else math.nan
        # Newton's error is squared at each step: after one this small, what remains is rounding.
        if abs(newton - inverse) <= 1e-10 * inverse:
            return newton
        if high - low <= 1e-15 * high:
            return inverse
        inverse = newton if low < newton < high else math.sqrt(low * high)
    return inverse


def _slope_and_curvature(scores: NDArray[np.floating], truth: NDArray[np.int64], inverse: float) -> tuple[float, float]:
    slopes: list[float] = []
    curvatures: list[float] = []
    for chunk, at_label in _chunks(scores, truth):
        # Relative to the label's own score: E[z] − z_y would cancel where the classifier is sure.
        distance = chunk - at_label[:, None]
        weight = np.exp(inverse * (distance - distance.max(1, keepdims=True)))
        weight /= weight.sum(1, keepdims=True)
        mean = (weight * distance).sum(1)
        slopes.extend(mean.tolist())
        curvatures.extend((weight * (distance - mean[:, None]) ** 2).sum(1).tolist())
    return math.fsum(slopes) / len(slopes), math.fsum(curvatures) / len(curvatures)


def _chunks(
    scores: NDArray[np.floating], truth: NDArray[np.int64]
) -> Iterator[tuple[NDArray[np.float64], NDArray[np.float64]]]:
    rows = max(_CHUNK // scores.shape[1], 1)
    for start in range(0, len(scores), rows):
        chunk = scores[start : start + rows].astype(np.float64)
        yield chunk, chunk[np.arange(len(chunk)), truth[start : start + rows]]


def _checked(logits: ArrayLike, labels: ArrayLike) -> tuple[NDArray[np.floating], NDArray[np.int64]]:
    scores, truth = _finite(logits), np.asarray(labels)
    if truth.shape != scores.shape[:1]:
        raise InputError(f"expected logits (n, k) and labels (n,), got {scores.shape} and {truth.shape}")
    if len(truth) and (truth.dtype.kind not in "iu" or truth.min() < 0 or truth.max() >= scores.shape[1]):
        raise InputError(f"labels must be integers from 0 to {scores.shape[1] - 1}; leave unknown ones out")
    return scores, truth.astype(np.int64)


def _finite(logits: ArrayLike) -> NDArray[np.floating]:
    array = np.asarray(logits)
    scores = array if array.dtype.kind == "f" else array.astype(np.float64)
    if scores.ndim != 2 or not scores.shape[1]:
        raise InputError(f"logits must be (n, k) with at least one class, got {scores.shape}")
    wrong = int((~np.isfinite(scores)).sum())
    if wrong:
        raise InputError(
            f"{wrong} of {scores.size} logits are not finite; take them before the softmax, not its logarithm"
        )
    return scores


def _check_temperature(temperature: float) -> None:
    if not 0 < temperature < math.inf:
        raise InputError(f"a temperature is a finite number above 0, got {temperature}")
