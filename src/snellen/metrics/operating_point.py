"""One decision threshold in counts: sensitivity, specificity, and predictive values at any prevalence."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike, NDArray

from snellen.core.errors import InputError
from snellen.metrics.intervals import Interval, wilson


@dataclass(frozen=True, kw_only=True)
class OperatingPoint:
    """Right and wrong decisions of a yes-or-no test; add up over shards.

    >>> point = OperatingPoint(true_positives=45, false_positives=20, true_negatives=180, false_negatives=5)
    >>> point.sensitivity, point.specificity, round(point.positive_predictive_value, 4)
    (0.9, 0.9, 0.6923)
    >>> round(point.positive_predictive_value_at(0.01), 4)  # the same test where the condition is rare
    0.0833

    Attributes:
        true_positives: images that have the condition and were called positive.
        false_positives: images without it that were called positive.
        true_negatives: images without it that were called negative.
        false_negatives: images that have it and were called negative.

    Raises:
        InputError: a count below zero.
    """

    true_positives: int = 0
    false_positives: int = 0
    true_negatives: int = 0
    false_negatives: int = 0

    def __post_init__(self) -> None:
        cells = (self.true_positives, self.false_positives, self.true_negatives, self.false_negatives)
        if min(cells) < 0:
            raise InputError(f"counts cannot be negative, got {cells} (true and false positives, then negatives)")

    @classmethod
    def of(cls, labels: ArrayLike, decisions: ArrayLike) -> OperatingPoint:
        """Count decisions.

        >>> OperatingPoint.of([1, 1, 0], [1, 0, 0]).sensitivity
        0.5

        Args:
            labels: (n,) bool or integers 0 and 1; leave out images whose label is unknown.
            decisions: (n,) bool or integers 0 and 1.

        Raises:
            InputError: wrong shapes or values.
        """
        truth, called = _binary(labels, "labels"), _binary(decisions, "decisions")
        if truth.shape != called.shape:
            raise InputError(f"{len(truth)} labels, but {len(called)} decisions; one decision for each label is needed")
        return cls(
            true_positives=int((truth & called).sum()),
            false_positives=int((~truth & called).sum()),
            true_negatives=int((~truth & ~called).sum()),
            false_negatives=int((truth & ~called).sum()),
        )

    def __add__(self, other: OperatingPoint) -> OperatingPoint:
        return OperatingPoint(
            true_positives=self.true_positives + other.true_positives,
            false_positives=self.false_positives + other.false_positives,
            true_negatives=self.true_negatives + other.true_negatives,
            false_negatives=self.false_negatives + other.false_negatives,
        )

    @property
    def positives(self) -> int:
        """Images that have the condition."""
        return self.true_positives + self.false_negatives

    @property
    def negatives(self) -> int:
        """Images without it."""
        return self.true_negatives + self.false_positives

    @property
    def n(self) -> int:
        """Images in all."""
        return self.positives + self.negatives

    @property
    def prevalence(self) -> float:
        """Share of these images that have the condition; NaN when nothing was counted."""
        return _share(self.positives, self.n)

    @property
    def sensitivity(self) -> float:
        """Share of the images with the condition that were called positive; NaN when there are none."""
        return _share(self.true_positives, self.positives)

    @property
    def specificity(self) -> float:
        """Share of the images without the condition that were called negative; NaN when there are none."""
        return _share(self.true_negatives, self.negatives)

    @property
    def positive_predictive_value(self) -> float:
        """Share of the positive calls that are right, at the prevalence of these images; NaN without such calls."""
        return _share(self.true_positives, self.true_positives + self.false_positives)

    @property
    def negative_predictive_value(self) -> float:
        """Share of the negative calls that are right, at the prevalence of these images; NaN without such calls."""
        return _share(self.true_negatives, self.true_negatives + self.false_negatives)

    def sensitivity_interval(self, confidence: float = 0.95) -> Interval:
        """Wilson interval of the sensitivity; [0, 1] when no image has the condition."""
        return wilson(self.true_positives, self.positives, confidence)

    def specificity_interval(self, confidence: float = 0.95) -> Interval:
        """Wilson interval of the specificity; [0, 1] when all images have the condition."""
        return wilson(self.true_negatives, self.negatives, confidence)

    def positive_predictive_value_interval(self, confidence: float = 0.95) -> Interval:
        """Wilson interval of the positive predictive value; it holds where images come at this prevalence only."""
        return wilson(self.true_positives, self.true_positives + self.false_positives, confidence)

    def negative_predictive_value_interval(self, confidence: float = 0.95) -> Interval:
        """Wilson interval of the negative predictive value; it holds where images come at this prevalence only."""
        return wilson(self.true_negatives, self.true_negatives + self.false_negatives, confidence)

    def positive_predictive_value_at(self, prevalence: float) -> float:
        """Positive predictive value where the condition has this prevalence, by Bayes' rule.

        Args:
            prevalence: strictly between 0 and 1, taken as known.

        Returns:
            A share in [0, 1]; NaN when sensitivity or specificity is unknown or nothing was called positive.

        Raises:
            InputError: prevalence out of range.
        """
        _check_prevalence(prevalence)
        return _posterior(self.sensitivity, 1 - self.specificity, prevalence)

    def negative_predictive_value_at(self, prevalence: float) -> float:
        """Negative predictive value where the condition has this prevalence, by Bayes' rule.

        Args:
            prevalence: strictly between 0 and 1, taken as known.

        Returns:
            A share in [0, 1]; NaN when sensitivity or specificity is unknown or nothing was called negative.

        Raises:
            InputError: prevalence out of range.
        """
        _check_prevalence(prevalence)
        return _posterior(self.specificity, 1 - self.sensitivity, 1 - prevalence)

    def positive_predictive_value_interval_at(self, prevalence: float, confidence: float = 0.95) -> Interval:
        """Interval of the positive predictive value at a stated prevalence; see :func:`_logit_interval`.

        >>> point = OperatingPoint(true_positives=240, false_negatives=178, false_positives=87, true_negatives=288)
        >>> [round(end, 4) for end in point.positive_predictive_value_interval_at(0.03)]
        [0.0589, 0.0856]

        Raises:
            InputError: prevalence or confidence out of range.
        """
        _check_prevalence(prevalence)
        return _logit_interval(
            (self.true_positives, self.positives), (self.false_positives, self.negatives), prevalence, confidence
        )

    def negative_predictive_value_interval_at(self, prevalence: float, confidence: float = 0.95) -> Interval:
        """Interval of the negative predictive value at a stated prevalence; see :func:`_logit_interval`.

        Raises:
            InputError: prevalence or confidence out of range.
        """
        _check_prevalence(prevalence)
        return _logit_interval(
            (self.true_negatives, self.negatives), (self.false_negatives, self.positives), 1 - prevalence, confidence
        )


def _posterior(right: float, wrong: float, prior: float) -> float:
    called = right * prior + wrong * (1 - prior)
    return right * prior / called if called else float("nan")


def _logit_interval(right: tuple[int, int], wrong: tuple[int, int], prior: float, confidence: float = 0.95) -> Interval:
    """Delta-method interval on the logit of a predictive value (Mercaldo, Lau and Zhou 2007, section 2.2).

    "Confidence intervals for predictive values with an emphasis to case–control studies", Statistics in Medicine 26,
    2170–2183. With p the share of the class that is called so, q the share of the other class that is called so, n and
    m the images of both, w the known prior and z the normal quantile: logit ± z √variance, where
    logit = log(p w / (q (1 − w))) and variance = (1 − p)/(p n) + (1 − q)/(q m). The paper's intervals of both
    predictive values have this form.

    A share of 0 or 1 makes the logit infinite or takes its part out of the variance. Such a share, and only it, is
    adjusted first as Agresti and Coull (1998) do: z²/2 is added to its successes and to its failures; and the interval
    is extended to the estimate. (The paper has adjusted estimates too; this rule is not taken from its text.) For true
    shares from 0.5 to 0.99, 20 to 500 images of a class, and 95 %, the interval holds the true value in 91 % or
    more of samples, 95 % on average.

    Args:
        right: calls and images of the class.
        wrong: the same calls, and images, of the other class.
        prior: share of the class.
        confidence: in (0, 1).

    Returns:
        The interval; [0, 1] when a class has no images or nothing was called so.
    """
    if not 0 < confidence < 1:
        raise InputError(f"confidence lies strictly between 0 and 1, got {confidence}")
    z = -NormalDist().inv_cdf((1 - confidence) / 2)
    if not right[1] or not wrong[1] or not right[0] + wrong[0]:
        return Interval(0.0, 1.0)
    estimate = _posterior(right[0] / right[1], wrong[0] / wrong[1], prior)
    (p, n), (q, m) = _inside(*right, z * z / 2), _inside(*wrong, z * z / 2)
    centre = math.log(p / q) + math.log(prior / (1 - prior))
    half = z * math.sqrt((1 - p) / (p * n) + (1 - q) / (q * m))
    return Interval(min(_logistic(centre - half), estimate), max(_logistic(centre + half), estimate))


def _inside(calls: int, images: int, added: float) -> tuple[float, float]:
    # Adjusting the other share too would bias it for nothing: 72 % of intervals hold the true value then, at worst.
    if 0 < calls < images:
        return calls / images, float(images)
    return (calls + added) / (images + 2 * added), images + 2 * added


def _logistic(value: float) -> float:
    # Each branch takes the exponential of a number below zero, which cannot overflow.
    return 1 / (1 + math.exp(-value)) if value >= 0 else math.exp(value) / (1 + math.exp(value))


def _share(part: int, whole: int) -> float:
    return part / whole if whole else float("nan")


def _check_prevalence(prevalence: float) -> None:
    if not 0 < prevalence < 1:
        raise InputError(f"prevalence lies strictly between 0 and 1, got {prevalence}; 1 % is 0.01")


def _binary(values: ArrayLike, what: str) -> NDArray[np.bool_]:
    array = np.asarray(values)
    if array.ndim != 1:
        raise InputError(f"{what} must be (n,), got {array.shape}")
    if array.size and (array.dtype.kind not in "biu" or not np.isin(array, (0, 1)).all()):
        raise InputError(f"{what} must be 0 or 1 (or bool), got {array.dtype} with {np.unique(array)[:5].tolist()}")
    return array.astype(np.bool_)
