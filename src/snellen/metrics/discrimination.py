"""How well a score separates two classes: counts that merge, areas under curves, and thresholds chosen from them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from snellen.core.errors import InputError
from snellen.metrics.operating_point import OperatingPoint


@dataclass(frozen=True, eq=False)
class RocPoints:
    """Receiver operating characteristic, from the strictest threshold to the loosest.

    Attributes:
        thresholds: float64 (m + 1,), falling: infinity, where nothing is called positive, then every distinct score.
        false_positive_rate: float64 (m + 1,), from 0 to 1; NaN when there are no negatives.
        sensitivity: float64 (m + 1,), from 0 to 1; NaN when there are no positives.
    """

    thresholds: NDArray[np.float64]
    false_positive_rate: NDArray[np.float64]
    sensitivity: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class PrecisionRecallPoints:
    """Precision against recall, from the strictest threshold to the loosest.

    Where nothing is called positive, precision does not exist, so there is no such point (scikit-learn adds precision 1
    at recall 0 by convention).

    Attributes:
        thresholds: float64 (m,), falling: every distinct score.
        precision: float64 (m,), share of the positive calls that are right.
        recall: float64 (m,), rising to 1; NaN when there are no positives.
    """

    thresholds: NDArray[np.float64]
    precision: NDArray[np.float64]
    recall: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class ScoreCounts:
    """Positives and negatives at each distinct score; adds up over shards.

    An image is called positive when its score reaches the threshold: score ≥ threshold. All figures are made of these
    counts, which hold the scores in rising order, so that neither the order of the images nor that of merging can
    change a bit. Memory: 24 bytes for each distinct score. Where all images have one class there is nothing to
    separate: areas, chosen thresholds and what they reach are NaN.

    >>> counts = ScoreCounts.of([0, 0, 1], [0.1, 0.4, 0.4]) + ScoreCounts.of([1], [0.8])
    >>> counts.scores.tolist(), counts.positives.tolist(), counts.negatives.tolist()
    ([0.1, 0.4, 0.8], [0, 1, 1], [1, 1, 0])
    >>> counts.auroc, round(counts.average_precision, 4)
    (0.875, 0.8333)
    >>> counts.sensitivity_at_specificity(0.9), counts.threshold_at_specificity(0.9)
    (0.5, 0.8)

    Attributes:
        scores: float64 (m,), distinct and rising.
        positives: int64 (m,), positives that have each score.
        negatives: int64 (m,), negatives that have each score.
    """

    scores: NDArray[np.float64]
    positives: NDArray[np.int64]
    negatives: NDArray[np.int64]

    @classmethod
    def of(cls, labels: ArrayLike, scores: ArrayLike) -> ScoreCounts:
        """Count scores.

        Args:
            labels: (n,) bool or integers 0 and 1; leave out images whose label is unknown.
            scores: (n,), higher for positives; any scale, below infinity.

        Raises:
            InputError: wrong shapes, labels other than 0 and 1, or scores that are NaN or infinity.
        """
        truth, values = np.asarray(labels), np.asarray(scores, dtype=np.float64)
        if truth.ndim != 1 or truth.shape != values.shape:
            raise InputError(f"labels and scores must both be (n,), got {truth.shape} and {values.shape}")
        if len(truth) and (truth.dtype.kind not in "biu" or not np.isin(truth, (0, 1)).all()):
            raise InputError(f"labels must be 0 or 1 (or bool), got {truth.dtype} with {np.unique(truth)[:5].tolist()}")
        # Infinity is the threshold that no score reaches. Written so that NaN fails too.
        beyond = int((~(values < np.inf)).sum())
        if beyond:
            raise InputError(
                f"{beyond} of {len(values)} scores are NaN or infinity; leave images without a score out, "
                "and pass probabilities in place of their logits"
            )
        positive = truth.astype(np.int64)
        return _gathered(values, positive, 1 - positive)

    def __add__(self, other: ScoreCounts) -> ScoreCounts:
        return _gathered(
            np.concatenate((self.scores, other.scores)),
            np.concatenate((self.positives, other.positives)),
            np.concatenate((self.negatives, other.negatives)),
        )

    @property
    def n(self) -> int:
        """Images in all."""
        return int(self.positives.sum() + self.negatives.sum())

    @property
    def prevalence(self) -> float:
        """Share of positives; NaN when nothing was counted."""
        return int(self.positives.sum()) / self.n if self.n else float("nan")

    @property
    def auroc(self) -> float:
        """Area under the ROC curve, ties counted half; as :func:`snellen.metrics.auroc.auroc`, to the bit."""
        pairs = int(self.positives.sum()) * int(self.negatives.sum())
        if not pairs:
            return float("nan")
        # Twice the pairs won: each negative that scores less counts two, each equal one counts one.
        won = self.positives * (2 * np.cumsum(self.negatives) - self.negatives)
        return int(won.sum()) / (2 * pairs)

    @property
    def average_precision(self) -> float:
        """Area under the precision-recall curve in steps: Σ (recall_i − recall_{i−1}) precision_i.

        As scikit-learn's ``average_precision_score``, but NaN when all images have one class (there: 1 with positives
        only, 0 with negatives only). A score that knows nothing reaches the prevalence, not one half.
        """
        if not self._both:
            return float("nan")
        true, false = self._called
        gained = np.diff(true[1:], prepend=0)
        return float((gained * (true[1:] / (true[1:] + false[1:]))).sum() / true[-1])

    def roc_points(self) -> RocPoints:
        """The ROC curve at every distinct score, and where nothing is called positive."""
        true, false = self._called
        return RocPoints(self._thresholds, _shares(false, false[-1]), _shares(true, true[-1]))

    def precision_recall_points(self) -> PrecisionRecallPoints:
        """The precision-recall curve at every distinct score."""
        true, false = (calls[1:] for calls in self._called)
        return PrecisionRecallPoints(
            self._thresholds[1:], true / (true + false), _shares(true, int(self.positives.sum()))
        )

    def operating_point(self, threshold: float) -> OperatingPoint:
        """Counts of right and wrong decisions at a threshold: positive where score ≥ threshold.

        Args:
            threshold: any number; infinity calls nothing positive.

        Raises:
            InputError: the threshold is NaN, as those chosen from images of one class are.
        """
        if np.isnan(threshold):
            raise InputError("the threshold is NaN: none can be chosen where all images have one class")
        cut = int(np.searchsorted(self.scores, threshold, side="left"))
        return OperatingPoint(
            true_positives=int(self.positives[cut:].sum()),
            false_positives=int(self.negatives[cut:].sum()),
            true_negatives=int(self.negatives[:cut].sum()),
            false_negatives=int(self.positives[:cut].sum()),
        )

    def threshold_at_specificity(self, specificity: float) -> float:
        """The threshold of the best sensitivity among those whose specificity is at least the requested one.

        Thresholds are the distinct scores and infinity, which calls nothing positive and always qualifies. Among equal
        sensitivities the one with the highest specificity is taken. Chosen and judged on the same images, both figures
        flatter: choose on validation images, then take :meth:`operating_point` of others.

        Args:
            specificity: in [0, 1].

        Raises:
            InputError: specificity out of range.
        """
        _check_share(specificity, "specificity")
        if not self._both:
            return float("nan")
        true, false = self._called
        last = int(np.flatnonzero((false[-1] - false) / false[-1] >= specificity)[-1])
        return float(self._thresholds[np.searchsorted(true, true[last], side="left")])

    def sensitivity_at_specificity(self, specificity: float) -> float:
        """Sensitivity at :meth:`threshold_at_specificity`: the best among thresholds of at least this specificity."""
        threshold = self.threshold_at_specificity(specificity)
        return self.operating_point(threshold).sensitivity if self._both else float("nan")

    def threshold_at_sensitivity(self, sensitivity: float) -> float:
        """The threshold of the best specificity among those whose sensitivity is at least the requested one.

        The lowest score always qualifies. Among equal specificities the one with the highest sensitivity is taken. The
        warning at :meth:`threshold_at_specificity` holds here too.

        Args:
            sensitivity: in [0, 1].

        Raises:
            InputError: sensitivity out of range.
        """
        _check_share(sensitivity, "sensitivity")
        if not self._both:
            return float("nan")
        true, false = self._called
        first = int(np.flatnonzero(true / true[-1] >= sensitivity)[0])
        return float(self._thresholds[np.searchsorted(false, false[first], side="right") - 1])

    def specificity_at_sensitivity(self, sensitivity: float) -> float:
        """Specificity at :meth:`threshold_at_sensitivity`: the best among thresholds of at least this sensitivity."""
        threshold = self.threshold_at_sensitivity(sensitivity)
        return self.operating_point(threshold).specificity if self._both else float("nan")

    @property
    def youden_threshold(self) -> float:
        """The threshold of the largest sensitivity + specificity − 1 (Youden 1950); the highest of equal ones.

        Infinity when no score is better than calling nothing positive.
        """
        if not self._both:
            return float("nan")
        true, false = self._called
        # Compared in integers: shares that are equal must not differ by rounding.
        return float(self._thresholds[np.argmax(true * false[-1] - false * true[-1])])

    @property
    def youden_index(self) -> float:
        """The largest sensitivity + specificity − 1, in [0, 1]."""
        if not self._both:
            return float("nan")
        point = self.operating_point(self.youden_threshold)
        return point.sensitivity + point.specificity - 1

    @property
    def _both(self) -> bool:
        return bool(self.positives.any() and self.negatives.any())

    @property
    def _thresholds(self) -> NDArray[np.float64]:
        return np.concatenate(([np.inf], self.scores[::-1]))

    @property
    def _called(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        true, false = (np.concatenate(([0], np.cumsum(who[::-1]))) for who in (self.positives, self.negatives))
        return true, false


def _gathered(scores: NDArray[np.float64], positives: NDArray[np.int64], negatives: NDArray[np.int64]) -> ScoreCounts:
    # Zero has two signs that compare equal; adding zero leaves one, so that which shard came first cannot show.
    distinct, place = np.unique(scores + 0.0, return_inverse=True)
    sums = np.zeros((2, len(distinct)), dtype=np.int64)
    np.add.at(sums[0], place, positives)
    np.add.at(sums[1], place, negatives)
    return ScoreCounts(distinct, sums[0], sums[1])


def _shares(part: NDArray[np.int64], whole: int) -> NDArray[np.float64]:
    return part / whole if whole else np.full(len(part), np.nan)


def _check_share(value: float, what: str) -> None:
    if not 0 <= value <= 1:
        raise InputError(f"{what} lies in [0, 1], got {value}; 95 % is 0.95")
