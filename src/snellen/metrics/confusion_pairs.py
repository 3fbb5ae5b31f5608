"""Which class is most often taken for which."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from snellen.core.errors import InputError
from snellen.metrics.classification import ConfusionCounts


class ConfusionPair(NamedTuple):
    """One way of being wrong.

    Attributes:
        label: the true class.
        prediction: the class it was taken for.
        times: how many images.
        share: of the label's images, in (0, 1].
    """

    label: int
    prediction: int
    times: int
    share: float


def confusion_pairs(counts: ConfusionCounts, most: int = 10) -> list[ConfusionPair]:
    """The most frequent confusions, by number of images; among equal ones the larger share, then the lower classes.

    >>> confusion_pairs(ConfusionCounts.of([0, 0, 0, 0, 1], [1, 1, 0, 0, 0], 2))
    [ConfusionPair(label=0, prediction=1, times=2, share=0.5), ConfusionPair(label=1, prediction=0, times=1, share=1.0)]

    Args:
        counts: confusion counts of k classes.
        most: at most so many pairs, at least 1.

    Returns:
        Pairs that occurred, the most frequent first; none when every prediction is right.

    Raises:
        InputError: most below 1.
    """
    if most < 1:
        raise InputError(f"at least one pair must be asked for, got most={most}")
    wrong = counts.table - np.diag(counts.correct)
    labels, predictions = np.nonzero(wrong)
    times = wrong[labels, predictions]
    share = times / counts.support[labels]
    order = np.lexsort((predictions, labels, -share, -times))[:most]
    return [ConfusionPair(int(labels[one]), int(predictions[one]), int(times[one]), float(share[one])) for one in order]
