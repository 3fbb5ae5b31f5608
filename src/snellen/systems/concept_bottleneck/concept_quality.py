"""Whether a score measures what its phrase says: the area under the ROC curve of each concept on images where it is
known.

The scores of a general text–image model on images it knows nothing of are close to noise, and a bottleneck of them is a
random projection. A small set with known attributes shows it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from snellen.core.errors import InputError
from snellen.metrics.auroc import MeanAuroc, auroc

#: Areas below which a score is hardly better than a coin.
NOISE = 0.6


def concept_areas(truth: ArrayLike, scores: ArrayLike) -> MeanAuroc:
    """Area of each concept, and their mean.

    >>> concept_areas([[1, -1], [0, 1]], [[0.9, 0.1], [0.2, 0.8]]).each
    (1.0, nan)

    Args:
        truth: (n, N), 1 where an image shows the concept, 0 where not, −1 where it is not known.
        scores: (n, N).

    Returns:
        Areas; NaN where no image shows a concept, or all do.

    Raises:
        InputError: wrong shapes or values.
    """
    known, values = np.asarray(truth), np.asarray(scores, dtype=np.float64)
    if known.ndim != 2 or known.shape != values.shape:
        raise InputError(f"truth and scores of concepts are both (n, N); got {known.shape} and {values.shape}")
    if not np.isin(known, (-1, 0, 1)).all():
        raise InputError("of each concept an image says 1 (shown), 0 (not shown) or −1 (not known)")
    return MeanAuroc(tuple(_area(column, score) for column, score in zip(known.T, values.T, strict=True)))


def noisy_concepts(areas: MeanAuroc) -> tuple[int, ...]:
    """Places of the concepts whose score is hardly better than a coin (area below 0.6)."""
    return tuple(place for place, area in enumerate(areas.each) if area < NOISE)


def _area(truth: NDArray[np.int64], scores: NDArray[np.float64]) -> float:
    told = truth >= 0
    return auroc(truth[told], scores[told])
