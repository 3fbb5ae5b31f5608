"""Does confidence match accuracy? Sums that merge, in bins of equal width or of equal mass. All sums are float64."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from snellen.core.errors import InputError
from snellen.metrics.discrimination import ScoreCounts


@dataclass(frozen=True, eq=False)
class ReliabilityBins:
    """Predictions in bins of equal confidence width; add up over shards.

    Bin m of M holds confidences in ((m − 1)/M, m/M]; 0 is in the first (Guo et al. 2017, section 2).

    >>> bins = ReliabilityBins.of([0.95, 0.85, 0.55, 0.55], [1, 1, 1, 0], 10)
    >>> round(bins.ece, 4)
    0.075
    >>> (bins + bins).ece == bins.ece
    True

    Attributes:
        count: int64 (M,), predictions in each bin.
        confidence_sum: float64 (M,), sum of their confidences.
        correct_sum: float64 (M,), how many of them are right.
    """

    count: NDArray[np.int64]
    confidence_sum: NDArray[np.float64]
    correct_sum: NDArray[np.float64]

    @classmethod
    def of(cls, confidence: ArrayLike, correct: ArrayLike, bins: int = 15) -> ReliabilityBins:
        """Sort predictions into bins.

        Args:
            confidence: (n,) in [0, 1], probability of the predicted class.
            correct: (n,) bool or 0/1.
            bins: how many.

        Raises:
            InputError: wrong shapes or values.
        """
        if bins < 1:
            raise InputError(f"at least one bin is needed, got {bins}")
        sure, right = (np.asarray(values, dtype=np.float64) for values in (confidence, correct))
        if sure.ndim != 1 or sure.shape != right.shape:
            raise InputError(f"confidence and correct must both be (n,), got {sure.shape} and {right.shape}")
        # Written so that NaN fails too.
        if not ((sure >= 0) & (sure <= 1)).all():
            raise InputError("confidence must lie in [0, 1]; pass probabilities, not scores")
        if not np.isin(right, (0, 1)).all():
            raise InputError("correct must be true or false (1 or 0) for each prediction")
        edges = np.arange(1, bins + 1) / bins
        place = np.searchsorted(edges, sure, side="left")
        sums = [np.bincount(place, weights, minlength=bins).astype(np.float64) for weights in (sure, right)]
        return cls(np.bincount(place, minlength=bins).astype(np.int64), *sums)

    def __add__(self, other: ReliabilityBins) -> ReliabilityBins:
        if len(self.count) != len(other.count):
            raise InputError(f"{len(self.count)} and {len(other.count)} bins cannot be added")
        return ReliabilityBins(
            self.count + other.count,
            self.confidence_sum + other.confidence_sum,
            self.correct_sum + other.correct_sum,
        )

    @property
    def n(self) -> int:
        """Predictions in all."""
        return int(self.count.sum())

    @property
    def confidence(self) -> NDArray[np.float64]:
        """Mean confidence of each bin, (M,); NaN where it is empty."""
        return _divide(self.confidence_sum, self.count)

    @property
    def accuracy(self) -> NDArray[np.float64]:
        """Accuracy of each bin, (M,); NaN where it is empty."""
        return _divide(self.correct_sum, self.count)

    @property
    def ece(self) -> float:
        """Expected calibration error, Σ_m n_m/n |accuracy_m − confidence_m| (Guo et al. 2017, equation 3).

        NaN when nothing was counted.
        """
        return float(np.abs(self.correct_sum - self.confidence_sum).sum() / self.n) if self.n else float("nan")


def expected_calibration_error(confidence: ArrayLike, correct: ArrayLike, bins: int = 15) -> float:
    """Expected calibration error of predictions; see :class:`ReliabilityBins`.

    >>> expected_calibration_error([0.5, 1.0], [True, True], bins=2)
    0.25
    """
    return ReliabilityBins.of(confidence, correct, bins).ece


@dataclass(frozen=True)
class ProbabilityScores:
    """Proper scores of probability forecasts; add up over shards.

    >>> scores = ProbabilityScores.of([[0.8, 0.2], [0.5, 0.5]], [0, 1])
    >>> round(scores.brier, 4), round(scores.negative_log_likelihood, 4)
    (0.29, 0.4581)

    Attributes:
        n: forecasts.
        brier_sum: sum of squared distances between forecasts and one-hot labels.
        log_loss_sum: sum of −log p of the true classes, natural logarithm.
    """

    n: int = 0
    brier_sum: float = 0.0
    log_loss_sum: float = 0.0

    @classmethod
    def of(cls, probabilities: ArrayLike, labels: ArrayLike) -> ProbabilityScores:
        """Score forecasts.

        Args:
            probabilities: (n, k) in [0, 1], each row with sum 1 (to 1e-5).
            labels: int (n,) in 0 … k−1.

        Raises:
            InputError: wrong shapes or values.
        """
        forecast, truth = np.asarray(probabilities, dtype=np.float64), np.asarray(labels)
        if forecast.ndim != 2 or truth.shape != forecast.shape[:1]:
            raise InputError(f"expected probabilities (n, k) and labels (n,), got {forecast.shape} and {truth.shape}")
        if not ((forecast >= 0) & (forecast <= 1)).all() or not np.allclose(forecast.sum(1), 1, atol=1e-5, rtol=0):
            raise InputError("each row of probabilities must lie in [0, 1] and sum to 1; pass a softmax, not scores")
        if len(truth) and (truth.dtype.kind not in "iu" or truth.min() < 0 or truth.max() >= forecast.shape[1]):
            raise InputError(f"labels must be integers from 0 to {forecast.shape[1] - 1}; leave unknown ones out")
        truth = truth.astype(np.int64)
        hit = forecast[np.arange(len(truth)), truth]
        # Σ_k (p_k − y_k)² = Σ_k p_k² − 2 p_y + 1, written so that nothing cancels for sure and right forecasts.
        others = (forecast**2).sum(1) - hit**2
        with np.errstate(divide="ignore"):
            return cls(len(truth), float((others + (1 - hit) ** 2).sum()), float(-np.log(hit).sum()))

    def __add__(self, other: ProbabilityScores) -> ProbabilityScores:
        return ProbabilityScores(
            self.n + other.n, self.brier_sum + other.brier_sum, self.log_loss_sum + other.log_loss_sum
        )

    @property
    def brier(self) -> float:
        """Brier score over all classes (Brier 1950), from 0 to 2; NaN when nothing was counted."""
        return self.brier_sum / self.n if self.n else float("nan")

    @property
    def negative_log_likelihood(self) -> float:
        """Mean of −log p of the true class, nats; infinite if one was held impossible, NaN when nothing was counted."""
        return self.log_loss_sum / self.n if self.n else float("nan")


def _divide(sums: NDArray[np.float64], count: NDArray[np.int64]) -> NDArray[np.float64]:
    return np.divide(sums, count, out=np.full(len(count), np.nan), where=count > 0)


@dataclass(frozen=True, eq=False)
class EqualMassBins:
    """Predictions in bins of equal numbers, as adaptive calibration errors need them.

    Bins of equal width leave most of them nearly empty when a model is sure; these hold n/M predictions each (Nguyen
    and O'Connor 2015, section 3; Nixon et al. 2019, "Measuring calibration in deep learning").

    Equal confidences are never split, so that no order can matter: all go to the bin in which the middle of their ranks
    falls. Bin m of M holds the middles in [(m − 1) n/M, m n/M), where the prediction of rank i (from 0) alone at its
    confidence has the middle i + ½. Without ties, bins differ by at most one prediction; with ties they may differ by
    more, and some may be empty.

    >>> counts = ScoreCounts.of([0, 1, 1, 1], [0.5, 0.7, 0.8, 1.0])
    >>> bins = EqualMassBins.of(counts, 2)
    >>> bins.count.tolist(), round(bins.error, 4)
    ([2, 2], 0.1)

    Attributes:
        count: int64 (M,), predictions in each bin.
        confidence_sum: float64 (M,), sum of their confidences.
        correct: int64 (M,), how many of them are right.
    """

    count: NDArray[np.int64]
    confidence_sum: NDArray[np.float64]
    correct: NDArray[np.int64]

    @classmethod
    def of(cls, counts: ScoreCounts, bins: int = 15) -> EqualMassBins:
        """Sort predictions into bins. Bins do not add up over shards, because their limits move; the counts do.

        Args:
            counts: right predictions (as positives) and wrong ones at each distinct confidence in [0, 1].
            bins: how many.

        Raises:
            InputError: no bins, or confidences that are no probabilities.
        """
        if bins < 1:
            raise InputError(f"at least one bin is needed, got {bins}")
        if len(counts.scores) and not 0 <= counts.scores[0] <= counts.scores[-1] <= 1:
            raise InputError(
                f"confidence must lie in [0, 1], got {counts.scores[0]} to {counts.scores[-1]}; "
                "pass probabilities, not scores"
            )
        images = counts.positives + counts.negatives
        # Twice the middle rank, so that it stays a whole number.
        middle = 2 * np.cumsum(images) - images
        place = middle * bins // max(2 * counts.n, 1)
        whole = np.zeros((2, bins), dtype=np.int64)
        np.add.at(whole[0], place, images)
        np.add.at(whole[1], place, counts.positives)
        sums = np.bincount(place, images * counts.scores, minlength=bins).astype(np.float64)
        return cls(whole[0], sums, whole[1])

    @property
    def n(self) -> int:
        """Predictions in all."""
        return int(self.count.sum())

    @property
    def error(self) -> float:
        """Adaptive calibration error, Σ_m n_m/n |accuracy_m − confidence_m|; NaN when nothing was counted."""
        return float(np.abs(self.correct - self.confidence_sum).sum() / self.n) if self.n else float("nan")


def adaptive_calibration_error(confidence: ArrayLike, correct: ArrayLike, bins: int = 15) -> float:
    """Calibration error of the predicted class in bins of equal mass; see :class:`EqualMassBins`.

    Figures of shards do not average; add their :class:`~snellen.metrics.discrimination.ScoreCounts` first.

    >>> round(adaptive_calibration_error([0.5, 0.7, 0.8, 1.0], [0, 1, 1, 1], bins=2), 4)
    0.1

    Args:
        confidence: (n,) in [0, 1], probability of the predicted class.
        correct: (n,) bool or integers 0 and 1.
        bins: how many.

    Returns:
        From 0 to 1; NaN when there are no predictions.

    Raises:
        InputError: wrong shapes or values.
    """
    sure, right = np.asarray(confidence, dtype=np.float64), np.asarray(correct)
    if sure.ndim != 1 or sure.shape != right.shape:
        raise InputError(f"confidence and correct must both be (n,), got {sure.shape} and {right.shape}")
    # Written so that NaN fails too.
    if not ((sure >= 0) & (sure <= 1)).all():
        raise InputError("confidence must lie in [0, 1]; pass probabilities, not scores")
    return EqualMassBins.of(ScoreCounts.of(right, sure), bins).error


@dataclass(frozen=True, eq=False)
class ClasswiseBins:
    """Probabilities of every class in bins of equal width; add up over shards (to rounding, as their sums are float64).

    A model can be right about how sure it is of the class it predicts, and wrong about all others; here every
    probability counts, not only the largest.

    >>> bins = ClasswiseBins.of([[0.9, 0.1], [0.4, 0.6]], [0, 1], 2)
    >>> [round(float(error), 4) for error in bins.each], round(bins.error, 4)
    ([0.25, 0.25], 0.25)
    >>> (bins + bins).error == bins.error
    True

    Attributes:
        classes: bins of each class: its probability against whether it is the label.
    """

    classes: tuple[ReliabilityBins, ...]

    @classmethod
    def of(cls, probabilities: ArrayLike, labels: ArrayLike, bins: int = 15) -> ClasswiseBins:
        """Sort probabilities into bins.

        Args:
            probabilities: (n, k) in [0, 1], each row with sum 1 (to 1e-5).
            labels: int (n,) in 0 … k−1.
            bins: how many for each class.

        Raises:
            InputError: wrong shapes or values.
        """
        forecast, truth = np.asarray(probabilities, dtype=np.float64), np.asarray(labels)
        if forecast.ndim != 2 or truth.shape != forecast.shape[:1] or not forecast.shape[1]:
            raise InputError(f"expected probabilities (n, k) and labels (n,), got {forecast.shape} and {truth.shape}")
        if not (forecast >= 0).all() or not np.allclose(forecast.sum(1), 1, atol=1e-5, rtol=0):
            raise InputError("each row of probabilities must lie in [0, 1] and sum to 1; pass a softmax, not scores")
        if len(truth) and (truth.dtype.kind not in "iu" or truth.min() < 0 or truth.max() >= forecast.shape[1]):
            raise InputError(f"labels must be integers from 0 to {forecast.shape[1] - 1}; leave unknown ones out")
        return cls(
            tuple(
                # A probability computed in single precision may pass 1 by rounding.
                ReliabilityBins.of(np.minimum(column, 1.0), truth == one, bins)
                for one, column in enumerate(forecast.T)
            )
        )

    def __add__(self, other: ClasswiseBins) -> ClasswiseBins:
        if len(self.classes) != len(other.classes):
            raise InputError(f"bins of {len(self.classes)} and of {len(other.classes)} classes cannot be added")
        return ClasswiseBins(tuple(one + two for one, two in zip(self.classes, other.classes, strict=True)))

    @property
    def each(self) -> NDArray[np.float64]:
        """Calibration error of each class, Σ_m n_m/n |frequency_m − probability_m|, (k,); NaN when nothing counted."""
        return np.array([one.ece for one in self.classes], dtype=np.float64)

    @property
    def error(self) -> float:
        """Mean over classes: the classwise calibration error (Kull et al. 2019), also static calibration error.

        The second name is that of Nixon et al. 2019. Classes that no image has count too. NaN when nothing was counted.
        """
        return float(self.each.mean())
