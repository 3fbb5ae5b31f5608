"""One of several labels an image: a scale and a shift that make its probability the share of images that have it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import scipy
from numpy.typing import ArrayLike, NDArray

from snellen.core.errors import InputError
from snellen.metrics.temperature import fit_temperature


class LabelScaling(NamedTuple):
    """What a label's logit is multiplied with, above 0, and what is added.

    Attributes:
        scale: above 0, so that images keep their order.
        shift: in logits.
    """

    scale: float
    shift: float


def fit_label_temperature(logits: ArrayLike, labels: ArrayLike) -> LabelScaling:
    """A scale alone, by the least negative log-likelihood (Guo et al. 2017, section 4.2).

    >>> round(fit_label_temperature([4.0, 4.0, 4.0, 4.0], [1, 1, 1, 0]).scale, 3)  # log 3 = 4 · scale
    0.275

    Args:
        logits: log p − log (1 − p) of the label, (n,), finite.
        labels: (n,), 0 and 1.

    Raises:
        InputError: wrong shapes or values, or no images.
    """
    own, truth = _checked(logits, labels)
    fitted = fit_temperature(np.stack([np.zeros(len(own)), own], 1), truth)
    return LabelScaling(1 / fitted.temperature, 0.0)


def fit_label_scaling(logits: ArrayLike, labels: ArrayLike) -> LabelScaling:
    """Scale and shift by the least negative log-likelihood (Platt, "Probabilistic outputs for SVMs", 1999).

    Targets are Platt's, (n₊ + 1)/(n₊ + 2) and 1/(n₋ + 2) in place of 1 and 0, so that numbers stay finite where scores
    separate the images. A scale below 0.001, which turns the order round or removes it, becomes 0.001.

    >>> rng = np.random.default_rng(0)
    >>> truth = (rng.random(4000) < 0.1).astype(int)
    >>> fitted = fit_label_scaling(3 * (4 * truth - 2 + rng.normal(size=4000)), truth)  # three times too sure
    >>> round(fitted.scale, 1), fitted.shift < -1
    (1.2, True)

    Args:
        logits: log p − log (1 − p) of the label, (n,), finite.
        labels: (n,), 0 and 1.

    Raises:
        InputError: wrong shapes or values, or images of one side only.
    """
    own, truth = _checked(logits, labels)
    have = int(truth.sum())
    if not 0 < have < len(truth):
        raise InputError(f"a label needs images with it and without it; got {have} with it of {len(truth)}")
    targets = np.where(truth == 1, (have + 1) / (have + 2), 1 / (len(truth) - have + 2))
    spread = float(own.std()) or 1.0

    def loss(numbers: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        scaled = own / spread * numbers[0] + numbers[1]
        missing = scipy.special.expit(scaled) - targets
        value = float(np.mean(np.logaddexp(0, scaled) - targets * scaled))
        return value, np.array([float(np.mean(missing * own)) / spread, float(np.mean(missing))])

    least = 1e-3 * spread
    found = scipy.optimize.minimize(
        loss, np.array([max(spread, least), 0.0]), jac=True, method="L-BFGS-B", bounds=[(least, None), (None, None)]
    )
    return LabelScaling(float(found.x[0]) / spread, float(found.x[1]))


def best_threshold(labels: NDArray[np.int8], logits: NDArray[np.float64]) -> float | None:
    """The logit above which balanced accuracy is best, in the middle between two scores; None without both sides.

    >>> best_threshold(np.array([0, 0, 1, 1], dtype=np.int8), np.array([-3.0, -2.0, -1.0, 4.0]))
    -1.5

    Args:
        labels: (n,), 0 and 1; −1 where unknown.
        logits: (n,).
    """
    known = labels >= 0
    truth, values = labels[known] == 1, logits[known]
    if not truth.any() or truth.all():
        return None
    order = np.argsort(values, kind="stable")
    truth, values = truth[order], values[order]
    # Above place i lie all scores from i + 1 on.
    missed, right = np.cumsum(truth) / truth.sum(), np.cumsum(~truth) / (~truth).sum()
    balanced = (1 - missed + right) / 2
    last = np.append(np.diff(values) > 0, False)  # equal scores cannot be parted
    if not last.any():
        return None
    best = int(np.flatnonzero(last)[np.argmax(balanced[last])])
    return float((values[best] + values[best + 1]) / 2)


def _checked(logits: ArrayLike, labels: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    own, truth = np.asarray(logits, dtype=np.float64), np.asarray(labels)
    if own.ndim != 1 or truth.shape != own.shape or not len(own):
        raise InputError(f"expected logits (n,) and labels (n,) of at least one image, got {own.shape}, {truth.shape}")
    if not np.isfinite(own).all() or not np.isin(truth, (0, 1)).all():
        raise InputError("logits of a label must be finite, and labels 0 or 1; leave unknown ones out")
    return own, truth.astype(np.int64)
