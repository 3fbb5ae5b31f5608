"""Probabilities for images that their own labels played no part in: a ridge head on frozen features, unit by unit."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from snellen.core.errors import InputError

#: What is said of probabilities that come from here.
SOURCE = "class-balanced ridge head on frozen features, cross-validated by unit"

_TEMPERATURES = np.exp(np.linspace(np.log(0.01), np.log(10), 80))


def out_of_sample_probabilities(
    features: ArrayLike,
    labels: ArrayLike,
    *,
    classes: int | None = None,
    units: Sequence[str] | NDArray[np.generic] | None = None,
    folds: int = 5,
    penalty: float = 1.0,
) -> NDArray[np.float64]:
    """Probabilities of each image's classes by a head that has seen neither the image nor others of its unit, (n, k).

    For a model under audit that is poor, gives labels only, or was trained on the images: then its own probabilities
    tell nothing of the labels. A ridge regression of the labels (±1) on the standardised features, in which every
    class weighs the same however few images it has, gives scores (Hastie, Tibshirani and Friedman, "The Elements of
    Statistical Learning", 2nd edition, section 4.2); a softmax of which the temperature makes the held-out labels most
    likely gives probabilities. That temperature is all that held-out labels decide: one number for all images.

    Deterministic. Units are dealt to folds in the order of their names, largest classes evenly; without units, images
    are dealt in the order given, so only then does the order matter. Cost n d² + d³ for each fold; memory n (d + k).

    >>> features = np.repeat([[0.0, 1.0], [1.0, 0.0]], 20, axis=0) + np.linspace(-0.1, 0.1, 40)[:, None]
    >>> labels = np.repeat([0, 1], 20)
    >>> labels[3] = 1  # wrong
    >>> out_of_sample_probabilities(features, labels).argmax(1)[3]
    np.int64(0)

    Args:
        features: (n, d), finite, of a model whose weights these labels did not decide.
        labels: int (n,) in 0 … k−1.
        classes: k; by default the largest label plus one.
        units: (n,), images of the same patient, lot or video share one and are held out together.
        folds: 2 or more; no more than there are units.
        penalty: strength of the ridge, in units of the variance of a standardised feature, > 0. Small ones overfit:
            the head is then wrong where it is sure, which looks like wrong labels.

    Raises:
        InputError: wrong shapes or values, or fewer units than folds.
    """
    known, given = np.asarray(features, dtype=np.float64), np.asarray(labels)
    if known.ndim != 2 or not known.size or given.shape != known.shape[:1]:
        raise InputError(f"expected features (n, d) and labels (n,), got {known.shape} and {given.shape}")
    if not np.isfinite(known).all():
        raise InputError("features must be finite; leave out images for which the model gives NaN or infinity")
    count = int(given.max()) + 1 if classes is None and given.dtype.kind in "iu" else classes or 0
    if given.dtype.kind not in "iu" or given.min() < 0 or given.max() >= count or count < 2:
        raise InputError(f"labels must be integers from 0 to k−1, k ≥ 2, got {given.dtype}, k {count}")
    if not penalty > 0:
        raise InputError(f"the penalty of the ridge must be above 0, got {penalty}")
    given = given.astype(np.int64)
    fold = _folds(given, units, folds)
    scores = np.empty((len(known), count))
    for held in range(folds):
        inside = fold != held
        scores[~inside] = _ridge(known[inside], given[inside], known[~inside], count, penalty)
    return _softmax(scores / _temperature(scores, given))


def _folds(
    given: NDArray[np.int64], units: Sequence[str] | NDArray[np.generic] | None, folds: int
) -> NDArray[np.int64]:
    n = len(given)
    names = np.arange(n) if units is None else np.asarray(units)
    if names.shape != (n,):
        raise InputError(f"expected a unit for each of {n} images, got {names.shape}")
    _, first, unit = np.unique(names, return_index=True, return_inverse=True)
    if not 2 <= folds <= len(first):
        raise InputError(f"{folds} folds need 2 or more of them and as many units; there are {len(first)} units")
    # Dealing out class by class gives each fold its share of every class; a unit goes by its smallest label, which
    # unlike the first does not depend on the order of its images.
    label = np.full(len(first), given.max())
    np.minimum.at(label, unit, given)
    fold = np.empty(len(first), dtype=np.int64)
    fold[np.argsort(label, kind="stable")] = np.arange(len(first)) % folds
    return fold[unit]


def _ridge(
    known: NDArray[np.float64], given: NDArray[np.int64], asked: NDArray[np.float64], classes: int, penalty: float
) -> NDArray[np.float64]:
    support = np.bincount(given, minlength=classes)
    weight = 1 / (np.maximum(support, 1)[given] * max(int((support > 0).sum()), 1))
    mean = weight @ known
    spread = np.sqrt(weight @ (known - mean) ** 2)
    spread = np.where(spread > 0, spread, 1.0)
    inputs, queries = (known - mean) / spread, (asked - mean) / spread
    targets = np.where(given[:, None] == np.arange(classes), 1.0, -1.0)
    middle = weight @ targets
    covariance = (inputs * weight[:, None]).T @ inputs
    right = (inputs * weight[:, None]).T @ (targets - middle)
    return queries @ np.linalg.solve(covariance + penalty * np.eye(inputs.shape[1]), right) + middle


def _temperature(scores: NDArray[np.float64], given: NDArray[np.int64]) -> float:
    own = scores[np.arange(len(scores)), given]
    top = scores.max(1, keepdims=True)

    def loss(temperature: float) -> float:
        return float((np.log(np.exp((scores - top) / temperature).sum(1)) - (own - top[:, 0]) / temperature).sum())

    return min((float(one) for one in _TEMPERATURES), key=loss)


def _softmax(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    raised = np.exp(scores - scores.max(1, keepdims=True))
    return raised / raised.sum(1, keepdims=True)
