"""What images' labels would be by opinions that saw all labels but their own: held-out heads on features, and a pool.

A classifier that was trained on the images agrees with their labels, right or wrong. The heads here are fitted to the
labels as well, but the opinion on an image comes from a fit without that image and without others of its unit. For the
kernel that fit need not be made: its prediction follows from the fit to all images (Cook and Weisberg, "Residuals
and influence in regression", 1982, section 2.2; for units, the same with blocks).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import scipy
from numpy.typing import ArrayLike, NDArray

from snellen.core.errors import InputError
from snellen.metrics.inspection.confident_joint import checked
from snellen.metrics.temperature import fit_temperature, tempered_probabilities

#: Landmarks of the kernel, and strengths of the ridge that are tried, as shares of the mean squared feature.
LANDMARKS, PENALTIES = 500, tuple(10.0 ** np.arange(-5, 1.1, 0.5))

#: Neighbours that vote, how fast votes fall with the cosine distance, and votes that each class has without any.
NEIGHBOURS, NEARNESS, FLOOR = 15, 10.0, 0.02

#: So many images vote at most, a random part of them: the cost does not grow with the square of the images.
VOTERS = 5000

#: Smallest probability that a pool sees: one opinion alone cannot rule a class out.
LEAST = 1e-9

#: Rows of similarities at a time.
_BLOCK = 2048


def kernel_opinion(
    features: ArrayLike,
    labels: ArrayLike,
    *,
    classes: int,
    units: NDArray[np.int64] | None = None,
    landmarks: int = LANDMARKS,
    seed: int = 0,
) -> NDArray[np.float64]:
    """Probabilities of each class by a ridge regression with a Gaussian kernel, held out by unit, (n, k).

    It works on the directions of the features.
    The kernel is approximated from landmarks, a random part of the images (Nyström; Williams and Seeger, NIPS 2000).
    Its width is half of the median distance between images and landmarks, squared. Landmarks have no labels here, so
    that opinions stay held out. Cost n m² + m³ for m landmarks, memory n (m + d).

    >>> features = np.repeat([[0.0, 1.0], [1.0, 0.0]], 20, axis=0) + np.linspace(-0.1, 0.1, 40)[:, None]
    >>> labels = np.repeat([0, 1], 20)
    >>> labels[3] = 1  # wrong
    >>> kernel_opinion(features, labels, classes=2).argmax(1)[3]
    np.int64(0)

    Args:
        features: (n, d), finite; labels must not have decided them.
        labels: int (n,) in 0 … k−1.
        classes: k.
        units: (n,), images of one patient, lot or video share a number and are held out together.
        landmarks: at most so many, 1 or more.
        seed: decides which.

    Raises:
        InputError: wrong shapes or values.
    """
    known, given = _checked(features, labels, classes, units)
    if landmarks < 1:
        raise InputError(f"a kernel needs 1 landmark or more, got {landmarks}")
    directions = _directions(known)
    chosen = np.random.default_rng(seed).permutation(len(known))[:landmarks]
    distances = np.maximum(2 - 2 * directions @ directions[chosen].T, 0)
    middle = float(np.median(distances))
    kernel = np.exp(-2 * distances / middle) if middle > 0 else np.ones_like(distances)
    sizes, turned = np.linalg.eigh(kernel[chosen])
    kept = sizes > 1e-6 * sizes[-1]
    return _held_out_ridge(kernel @ (turned[:, kept] / np.sqrt(sizes[kept])), given, classes, units)


def neighbour_opinion(
    features: ArrayLike,
    labels: ArrayLike,
    *,
    classes: int,
    units: NDArray[np.int64] | None = None,
    seed: int = 0,
) -> NDArray[np.float64]:
    """The same by votes of the 15 images of the most alike features, near ones counting for more, (n, k).

    Images of the same unit have no vote, and no more than 5,000 have one.

    Args:
        features: (n, d), finite.
        labels: int (n,) in 0 … k−1.
        classes: k.
        units: (n,), held out together.
        seed: decides which images vote, where there are more.

    Raises:
        InputError: wrong shapes or values.
    """
    known, given = _checked(features, labels, classes, units)
    n = len(known)
    directions, own = _directions(known).astype(np.float32), np.arange(n) if units is None else units
    voters = np.sort(np.random.default_rng(seed).permutation(n)[:VOTERS])
    votes, count = np.full((n, classes), FLOOR), min(NEIGHBOURS, len(voters) - 1)
    for start in range(0, n if count else 0, _BLOCK):
        rows = slice(start, start + _BLOCK)
        alike = directions[rows] @ directions[voters].T
        alike[own[rows, None] == own[None, voters]] = -2
        nearest = np.argpartition(-alike, count - 1, axis=1)[:, :count]
        strength = np.take_along_axis(alike, nearest, 1).astype(np.float64)
        weight = np.where(strength > -2, np.exp(NEARNESS * (strength - 1)), 0.0)
        weight /= np.maximum(weight.sum(1, keepdims=True), 1e-300)
        places = np.arange(len(nearest))[:, None] * classes + given[voters[nearest]]
        counted = np.bincount(places.ravel(), weight.ravel(), len(nearest) * classes)
        votes[rows] += counted.reshape(-1, classes)
    shares: NDArray[np.float64] = votes / votes.sum(1, keepdims=True)
    return shares


def pooled_opinion(opinions: Sequence[ArrayLike], labels: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """One opinion of several: softmax(Σ w_j log p_j), with the weights w ≥ 0 that make the labels most likely.

    A logarithmic pool (Genest and Zidek, "Combining probability distributions", Statistical Science 1, 1986). Opinions
    must be held out. Then the weights, one number for each opinion, are all that a label decides of its own opinion.

    >>> modest = np.full((20, 2), 0.1)
    >>> labels = np.repeat([0, 1], 10)
    >>> modest[np.arange(20), labels] = 0.9
    >>> labels[0] = 1
    >>> pooled, weights = pooled_opinion([modest], labels)  # right in 95 %, and says 90 %
    >>> round(float(pooled[0, 0]), 2), weights.round(1).tolist()
    (0.95, [1.3])

    Args:
        opinions: (n, k) each, in [0, 1], each row with sum 1.
        labels: int (n,) in 0 … k−1.

    Returns:
        The pool (n, k), and the weight of each opinion.

    Raises:
        InputError: no opinions, or wrong shapes or values.
    """
    if not opinions:
        raise InputError("a pool needs one opinion or more, got none")
    parts = [checked(one, labels) for one in opinions]
    given = parts[0][1]
    logs = np.stack([np.log(np.maximum(sure, LEAST)) for sure, _ in parts])
    logs -= logs.max(2, keepdims=True)
    rows = np.arange(len(given))

    def loss(weights: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        pooled = np.einsum("j,jnk->nk", weights, logs)
        top = scipy.special.logsumexp(pooled, axis=1, keepdims=True)
        mean = np.einsum("nk,jnk->j", np.exp(pooled - top), logs)
        lost = float((top[:, 0] - pooled[rows, given]).mean())
        return lost, (mean - logs[:, rows, given].sum(1)) / len(given)

    from scipy.optimize import minimize

    start = np.full(len(parts), 1.0 / len(parts))
    weights = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=[(0.0, 50.0)] * len(parts)).x
    pooled = np.einsum("j,jnk->nk", weights, logs)
    return np.exp(pooled - scipy.special.logsumexp(pooled, axis=1, keepdims=True)), weights


def _checked(
    features: ArrayLike, labels: ArrayLike, classes: int, units: NDArray[np.int64] | None
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    known, given = np.asarray(features, dtype=np.float64), np.asarray(labels)
    if known.ndim != 2 or not known.size or given.shape != known.shape[:1]:
        raise InputError(f"expected features (n, d) and labels (n,), got {known.shape} and {given.shape}")
    if not np.isfinite(known).all():
        raise InputError("features must be finite; leave out images for which the model gives NaN or infinity")
    if classes < 2 or given.dtype.kind not in "iu" or given.min() < 0 or given.max() >= classes:
        raise InputError(f"labels must be integers from 0 to k−1, k ≥ 2, got {given.dtype}, k {classes}")
    if units is not None and np.shape(units) != given.shape:
        raise InputError(f"expected a unit for each of {len(given)} images, got {np.shape(units)}")
    return known, given.astype(np.int64)


def _directions(features: NDArray[np.float64]) -> NDArray[np.float64]:
    lengths = np.linalg.norm(features, axis=1, keepdims=True)
    return features / np.where(lengths > 0, lengths, 1.0)


def _held_out_ridge(
    inputs: NDArray[np.float64], given: NDArray[np.int64], classes: int, units: NDArray[np.int64] | None
) -> NDArray[np.float64]:
    """Held-out probabilities of a ridge regression of the classes' indicators, the strength with the least error."""
    design = np.concatenate([inputs, np.ones((len(inputs), 1))], axis=1)
    targets = np.eye(classes)[given]
    sizes, turned = np.linalg.eigh(design.T @ design)
    kept = sizes > 1e-10 * sizes[-1]
    sizes, turned = sizes[kept], design @ turned[:, kept]
    right, squared = turned.T @ targets, turned**2
    groups = [] if units is None else _shared(units)
    best, scores = np.inf, targets
    for penalty in PENALTIES:
        shrunk = 1 / (sizes + penalty * sizes.mean())
        missed = targets - turned @ (shrunk[:, None] * right)
        held = missed / np.maximum(1 - squared @ shrunk, 1e-6)[:, None]
        for rows in groups:
            block = np.eye(len(rows)) - (turned[rows] * shrunk) @ turned[rows].T
            held[rows] = np.linalg.lstsq(block, missed[rows], rcond=None)[0]
        error = float((held**2).mean())
        if error < best:
            best, scores = error, targets - held
    return tempered_probabilities(scores, fit_temperature(scores, given).temperature)


def _shared(units: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """Positions of the images of each unit that has more than one."""
    order = np.argsort(units, kind="stable")
    ends = np.flatnonzero(np.diff(units[order])) + 1
    return [rows for rows in np.split(order, ends) if len(rows) > 1]
