"""Given labels against the labels that a classifier is confident of: the counts of confident learning."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from snellen.core.errors import InputError

#: Probabilities this close to a threshold reach it: means and float32 outputs are only that exact.
CLOSE = 1e-9


@dataclass(frozen=True, eq=False)
class ConfidentJoint:
    """Given labels against the labels that the classifier is confident of (Northcutt et al. 2021, section 3.1).

    A classifier is confident of class j for an image when its probability of j reaches the mean that it has over the
    images labelled j; of several such classes the most probable counts. Thresholds by class forgive a classifier that
    is too sure, or not sure enough, of a class as a whole. The images' order plays no part.

    >>> found = ConfidentJoint.of([[0.9, 0.1], [0.7, 0.3], [0.2, 0.8], [0.1, 0.9], [0.4, 0.6]], [0, 0, 0, 1, 1])
    >>> found.thresholds.round(2).tolist(), found.confident.tolist(), found.counts.tolist()
    ([0.6, 0.75], [0, 0, 1, 1, -1], [[2, 1], [0, 1]])
    >>> found.estimated_counts.tolist()  # the fifth image is spread as the other one of its label
    [[2, 1], [0, 2]]

    Attributes:
        labels: int64 (n,), as given.
        thresholds: float64 (k,), mean probability of each class over the images labelled so (equation 2); infinite for
            a class that labels no image: nothing is known of it, and nobody is confident of it.
        confident: int64 (n,), the class that each image counts for; −1 where the classifier is confident of none.
        counts: int64 (k, k), images of the row's label that count for the column's class (equation 1).
    """

    labels: NDArray[np.int64]
    thresholds: NDArray[np.float64]
    confident: NDArray[np.int64]
    counts: NDArray[np.int64]

    @classmethod
    def of(cls, probabilities: ArrayLike, labels: ArrayLike) -> ConfidentJoint:
        """Count.

        Args:
            probabilities: (n, k) in [0, 1], each row with sum 1 (to 1e-3), of a model that was not trained on these
                images.
            labels: int (n,) in 0 … k−1.

        Raises:
            InputError: wrong shapes or values, or no images.
        """
        sure, given = checked(probabilities, labels)
        n, classes = sure.shape
        own = sure[np.arange(n), given]
        support = np.bincount(given, minlength=classes)
        thresholds = np.full(classes, np.inf)
        np.divide(np.bincount(given, own, classes), support, out=thresholds, where=support > 0)
        reached = np.where(sure >= thresholds - CLOSE, sure, -1.0)
        best = reached.max(1)
        confident = np.where(best >= 0, reached.argmax(1), -1)
        # Where another class is exactly as probable, the given label has the benefit of the doubt.
        confident = np.where((best >= 0) & (reached[np.arange(n), given] >= best - CLOSE), given, confident)
        decided = confident >= 0
        counts = np.bincount(given[decided] * classes + confident[decided], minlength=classes * classes)
        return cls(given, thresholds, confident, counts.reshape(classes, classes))

    @property
    def support(self) -> NDArray[np.int64]:
        """Images of each given label, (k,)."""
        return np.bincount(self.labels, minlength=len(self.thresholds))

    @property
    def calibrated(self) -> NDArray[np.float64]:
        """Counts scaled so that each row sums to the images of its label, (k, k) (equation 3, times n).

        A row without a confident class carries no information, and is left as it was given.
        """
        rows = self.counts.sum(1)
        known = np.where(rows[:, None] > 0, self.counts, np.eye(len(rows), dtype=np.int64)).astype(np.float64)
        return known / np.maximum(rows, 1)[:, None] * self.support[:, None]

    @property
    def joint(self) -> NDArray[np.float64]:
        """Estimated joint distribution of given (row) and true (column) labels, (k, k), with sum 1 (equation 3)."""
        return self.calibrated / len(self.labels)

    @property
    def estimated_counts(self) -> NDArray[np.int64]:
        """:attr:`calibrated` in whole images, (k, k): errors are rounded down, and rows keep their sums.

        No error that was counted is lost, because calibration scales up.
        """
        whole = np.floor(self.calibrated + CLOSE).astype(np.int64)
        np.fill_diagonal(whole, 0)
        np.fill_diagonal(whole, self.support - whole.sum(1))
        return whole

    @property
    def prior(self) -> NDArray[np.float64]:
        """Estimated share of each true class, (k,)."""
        return self.joint.sum(0)

    @property
    def noise(self) -> NDArray[np.float64]:
        """Estimated probability of each given label (row) for each true class (column), (k, k).

        Columns sum to 1; NaN for a class that no image is estimated to have.
        """
        prior = self.prior
        return np.divide(self.joint, prior, out=np.full_like(self.joint, np.nan), where=prior > 0)


def checked(probabilities: ArrayLike, labels: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Probabilities (n, k) and labels (n,) as arrays, rows with a sum of exactly 1, or say what is wrong.

    >>> checked([[0.5, 0.5]], [1])[1].tolist()
    [1]

    Raises:
        InputError: wrong shapes or values, or no images.
    """
    sure, given = np.asarray(probabilities, dtype=np.float64), np.asarray(labels)
    if sure.ndim != 2 or sure.shape[1] < 2 or given.shape != sure.shape[:1]:
        raise InputError(f"expected probabilities (n, k), k ≥ 2, and labels (n,), got {sure.shape} and {given.shape}")
    if not len(sure):
        raise InputError("expected at least one image, got none; labels cannot be judged without")
    sums = sure.sum(1)
    # Written so that NaN fails too.
    if not (sure >= 0).all() or not (np.abs(sums - 1) <= 1e-3).all():
        raise InputError("each row of probabilities must lie in [0, 1] and sum to 1; pass a softmax, not scores")
    if given.dtype.kind not in "iu" or given.min() < 0 or given.max() >= sure.shape[1]:
        raise InputError(
            f"labels must be integers from 0 to {sure.shape[1] - 1}, got {given.dtype} from {given.min()} to "
            f"{given.max()}; leave images with unknown labels out"
        )
    return sure / sums[:, None], given.astype(np.int64)
