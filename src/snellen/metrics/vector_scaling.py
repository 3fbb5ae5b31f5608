"""A scale and a shift for each class that make a classifier as sure as it is right: vector scaling."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy
from numpy.typing import ArrayLike, NDArray

from snellen.core.errors import InputError
from snellen.metrics.temperature import fit_temperature, tempered_probabilities

#: Fewer images for each of the 2 k numbers say more about the images than about the classifier.
IMAGES_PER_NUMBER = 10


@dataclass(frozen=True, eq=False)
class VectorScaling:
    """What scores are multiplied with, and what is added, before the softmax.

    Attributes:
        scale: float64 (k,).
        shift: float64 (k,), with sum 0.
    """

    scale: NDArray[np.float64]
    shift: NDArray[np.float64]

    def probabilities(self, logits: ArrayLike) -> NDArray[np.float64]:
        """softmax(scale · z + shift), float64 (n, k); the predicted class may be another one.

        >>> VectorScaling(np.ones(2), np.array([0.5, -0.5])).probabilities([[1.0, 1.0]]).round(3).tolist()
        [[0.731, 0.269]]
        """
        return tempered_probabilities(np.asarray(logits, dtype=np.float64) * self.scale + self.shift, 1.0)


def enough_for_vector_scaling(images: int, classes: int) -> bool:
    """Whether so many images can fit 2 k numbers."""
    return images >= IMAGES_PER_NUMBER * 2 * classes


def fit_vector_scaling(logits: ArrayLike, labels: ArrayLike) -> VectorScaling:
    """Fit scale and shift of each class by the least negative log-likelihood (Guo et al. 2017, section 4.2).

    The loss is convex in both; the search starts from the best temperature. A penalty of 1e-6 for each squared shift
    makes the minimum the only one, since a common shift changes nothing.

    >>> rng = np.random.default_rng(0)
    >>> truth = rng.integers(0, 2, 4000)
    >>> scores = np.eye(2)[truth] * 2 + rng.normal(size=(4000, 2)) + [1.5, 0]  # the first class is favoured
    >>> bool(fit_vector_scaling(scores, truth).shift[0] < -0.5)
    True

    Args:
        logits: (n, k), finite.
        labels: int (n,) in 0 … k−1.

    Raises:
        InputError: wrong shapes or values, no images, or a search that does not end.
    """
    start = fit_temperature(logits, labels).temperature
    scores, truth = np.asarray(logits, dtype=np.float64), np.asarray(labels)
    count, classes = scores.shape
    hits = np.eye(classes)[truth]

    def loss(numbers: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        scaled = scores * numbers[:classes] + numbers[classes:]
        scaled -= scaled.max(1, keepdims=True)
        weights = np.exp(scaled)
        total = weights.sum(1, keepdims=True)
        value = float(np.mean(np.log(total[:, 0]) - scaled[np.arange(count), truth]))
        miss = (weights / total - hits) / count
        shift = numbers[classes:]
        gradient = np.concatenate([(miss * scores).sum(0), miss.sum(0) + 2e-6 * shift])
        return value + 1e-6 * float(shift @ shift), gradient

    first = np.concatenate([np.full(classes, 1 / start), np.zeros(classes)])
    found = scipy.optimize.minimize(loss, first, jac=True, method="L-BFGS-B", options={"maxiter": 500})
    if not np.isfinite(found.x).all():
        raise InputError("vector scaling found no finite numbers for these scores")
    shift = found.x[classes:]
    return VectorScaling(found.x[:classes], shift - shift.mean())
