"""Two figures of a generated labelled set: whether its classes are recognised, and how much the images of each differ.

Fan et al., *Scaling Laws of Synthetic Images for Model Training … for Now* (CVPR 2024): recognisability is the F1 of a
classifier of real images against the intended labels; diversity is the standard deviation of embeddings around their
class mean.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from snellen.core.errors import InputError


def recognisability(predictions: NDArray[np.int64], labels: NDArray[np.int64], classes: int) -> NDArray[np.float64]:
    """F1 of each class, 2 TP / (2 TP + FP + FN): float64 (classes,); NaN for a class without images.

    >>> recognisability(np.array([0, 0, 1, 1]), np.array([0, 0, 1, 0]), 3).round(3).tolist()
    [0.8, 0.667, nan]

    Args:
        predictions: class of each image by a classifier that was trained on real images, int64 (n,).
        labels: intended class of each image, int64 (n,).
        classes: number of classes.

    Raises:
        InputError: other shapes, no images, or labels that are no classes.
    """
    _check(labels, classes)
    if predictions.shape != labels.shape:
        raise InputError(f"one prediction belongs to each image; got {len(predictions)} for {len(labels)}")
    right = np.bincount(labels[predictions == labels], minlength=classes).astype(np.float64)
    intended = np.bincount(labels, minlength=classes)
    given = np.bincount(predictions[(predictions >= 0) & (predictions < classes)], minlength=classes)
    return np.where(intended > 0, 2 * right / np.maximum(intended + given, 1), np.nan)


def diversity(features: NDArray[np.floating], labels: NDArray[np.int64], classes: int) -> NDArray[np.float64]:
    """Standard deviation of features around their class mean, mean over dimensions: float64 (classes,).

    NaN for a class with fewer than two images. The estimate divides by n − 1, so it does not grow with the number.

    >>> diversity(np.array([[0.0, 0.0], [2.0, 0.0], [1.0, 1.0]]), np.array([0, 0, 1]), 2).round(3).tolist()
    [0.707, nan]

    Args:
        features: embeddings by an encoder of real images, (n, d), finite.
        labels: class of each image, int64 (n,).
        classes: number of classes.

    Raises:
        InputError: other shapes, no images, features that are not finite, or labels that are no classes.
    """
    _check(labels, classes)
    if features.ndim != 2 or len(features) != len(labels):
        raise InputError(f"features are (n, d), a row for each of {len(labels)} images; got {features.shape}")
    if not np.isfinite(features).all():
        raise InputError("a diversity takes finite features")
    rows = features.astype(np.float64)
    return np.array(
        [
            float(rows[own].std(axis=0, ddof=1).mean()) if (own := labels == index).sum() > 1 else np.nan
            for index in range(classes)
        ]
    )


def _check(labels: NDArray[np.int64], classes: int) -> None:
    if labels.ndim != 1 or not len(labels):
        raise InputError(f"labels are (n,), at least one; got {labels.shape}")
    if int(labels.min()) < 0 or int(labels.max()) >= classes:
        raise InputError(f"labels are 0 to {classes - 1}; got {int(labels.min())} to {int(labels.max())}")
