"""A matrix and a shift that make a classifier as sure as it is right: Dirichlet calibration.

Kull, Perello-Nieto, Kängsepp, Silva Filho, Song and Flach, "Beyond temperature scaling: obtaining well-calibrated
multiclass probabilities with Dirichlet calibration", NeurIPS 2019, arXiv 1910.12656.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import minimize

from snellen.core.errors import InputError
from snellen.metrics.temperature import fit_temperature, negative_log_likelihood, tempered_probabilities

#: Penalties that are tried, and into how many parts the images fall for that.
PENALTIES, FOLDS = (1e-2, 1e-1, 1.0, 10.0), 3


@dataclass(frozen=True, eq=False)
class DirichletScaling:
    """What scores are multiplied with, and what is added, before the softmax.

    Attributes:
        matrix: float64 (k, k); its rows have equal sums.
        shift: float64 (k,), with sum 0.
        penalty: of the numbers off the diagonal, chosen on images that were left out.
    """

    matrix: NDArray[np.float64]
    shift: NDArray[np.float64]
    penalty: float

    def probabilities(self, logits: ArrayLike) -> NDArray[np.float64]:
        """softmax(matrix · z + shift), float64 (n, k); the predicted class may be another one."""
        return tempered_probabilities(np.asarray(logits, dtype=np.float64) @ self.matrix.T + self.shift, 1.0)


def fit_dirichlet_scaling(
    logits: ArrayLike, labels: ArrayLike, *, seed: int = 0, penalties: Sequence[float] = PENALTIES
) -> DirichletScaling:
    """Fit matrix and shift by the least negative log-likelihood, with the penalty ODIR (section 3.2 of the paper).

    The paper's matrix multiplies log-probabilities, which are scores less a constant of each image. Here its rows have
    equal sums, so that the constant changes nothing: the same matrix multiplies scores, and can be folded into a last
    layer. ODIR, the mean square of the numbers off the diagonal and of the shift, keeps k² numbers from learning the
    images by heart; its weight is that of the least loss on parts that were left out.

    >>> rng = np.random.default_rng(0)
    >>> truth = rng.integers(0, 3, 3000)
    >>> scores = 4 * np.eye(3)[truth] + 2 * rng.normal(size=(3000, 3))
    >>> mixed = scores @ np.array([[1, 0.5, 0], [0, 1, 0], [0, 0, 1.0]]).T  # the first class borrows from the second
    >>> bool(fit_dirichlet_scaling(mixed, truth).matrix[0, 1] < -0.1)
    True

    Args:
        logits: (n, k), finite; log-probabilities do as well.
        labels: int (n,) in 0 … k−1.
        seed: of the parts.
        penalties: that are tried.

    Raises:
        InputError: wrong shapes or values, fewer images than parts, or a search that does not end.
    """
    start = 1 / fit_temperature(logits, labels).temperature
    scores, truth = np.asarray(logits, dtype=np.float64), np.asarray(labels)
    if len(truth) < FOLDS:
        raise InputError(f"Dirichlet calibration needs {FOLDS} images at least, got {len(truth)}")
    part = np.random.default_rng(seed).permutation(len(truth)) % FOLDS
    losses = []
    for penalty in penalties:
        total = 0.0
        for number in range(FOLDS):
            matrix, shift = _fitted(scores[part != number], truth[part != number], start, penalty)
            left = part == number
            total += float(left.sum()) * negative_log_likelihood(scores[left] @ matrix.T + shift, truth[left])
        losses.append(total)
    penalty = penalties[int(np.argmin(losses))]
    matrix, shift = _fitted(scores, truth, start, penalty)
    return DirichletScaling(matrix, shift - shift.mean(), penalty)


def _fitted(
    scores: NDArray[np.float64], truth: NDArray[np.int64], start: float, penalty: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    count, classes = scores.shape
    hits, off = np.eye(classes)[truth], 1 - np.eye(classes)
    pairs = max(classes * (classes - 1), 1)

    def loss(numbers: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        matrix, shift = _equal_sums(numbers[:-classes].reshape(classes, classes)), numbers[-classes:]
        scaled = scores @ matrix.T + shift
        scaled -= scaled.max(1, keepdims=True)
        weights = np.exp(scaled)
        total = weights.sum(1, keepdims=True)
        value = float(np.mean(np.log(total[:, 0]) - scaled[np.arange(count), truth]))
        value += penalty * (float((off * matrix**2).sum()) / pairs + float(shift @ shift) / classes)
        miss = (weights / total - hits) / count
        slope = miss.T @ scores + 2 * penalty * off * matrix / pairs
        return value, np.concatenate([_equal_sums(slope).ravel(), miss.sum(0) + 2 * penalty * shift / classes])

    first = np.concatenate([start * np.eye(classes).ravel(), np.zeros(classes)])
    found = minimize(loss, first, jac=True, method="L-BFGS-B", options={"maxiter": 300})
    if not np.isfinite(found.x).all():
        raise InputError("Dirichlet calibration found no finite numbers for these scores")
    return _equal_sums(found.x[:-classes].reshape(classes, classes)), found.x[-classes:]


def _equal_sums(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """The nearest matrix whose rows have equal sums: a projection, which is its own adjoint."""
    sums = matrix.sum(1)
    return matrix - ((sums - sums.mean()) / len(matrix))[:, None]
