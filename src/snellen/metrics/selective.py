"""Answering only when sure: the error among answered images against the share that is answered."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from snellen.core.errors import InputError
from snellen.metrics.discrimination import ScoreCounts


@dataclass(frozen=True, eq=False)
class RiskCoverage:
    """Risk-coverage curve (Geifman and El-Yaniv 2017, section 2); adds up over shards.

    A threshold answers the images whose confidence reaches it. Coverage is their share of all images, risk the share of
    wrong predictions among them. Images of equal confidence are answered together. Between two thresholds errors grow
    in proportion to images, which is the mean over all orders of the tied ones; so no order can matter, to the bit.

    >>> curve = RiskCoverage.of([0.9, 0.8, 0.8, 0.3], [True, True, False, False])
    >>> curve.thresholds.tolist(), curve.coverage.tolist(), curve.risk.round(4).tolist()
    ([0.9, 0.8, 0.3], [0.25, 0.75, 1.0], [0.0, 0.3333, 0.5])
    >>> round(curve.area, 4), round(curve.excess_area, 4)
    (0.2708, 0.0625)

    Attributes:
        counts: right predictions (as positives) and wrong ones (as negatives) at each distinct confidence.
    """

    counts: ScoreCounts

    @classmethod
    def of(cls, confidence: ArrayLike, correct: ArrayLike) -> RiskCoverage:
        """Count predictions.

        Args:
            confidence: (n,), higher when surer; any scale, below infinity.
            correct: (n,) bool or integers 0 and 1.

        Raises:
            InputError: wrong shapes or values.
        """
        sure, right = np.asarray(confidence, dtype=np.float64), np.asarray(correct)
        if sure.ndim != 1 or sure.shape != right.shape:
            raise InputError(f"confidence and correct must both be (n,), got {sure.shape} and {right.shape}")
        if len(right) and (right.dtype.kind not in "biu" or not np.isin(right, (0, 1)).all()):
            raise InputError("correct must be true or false (1 or 0) for each prediction")
        if not (sure < np.inf).all():
            raise InputError("confidence must be below infinity and not NaN; leave images without one out")
        return cls(ScoreCounts.of(right, sure))

    def __add__(self, other: RiskCoverage) -> RiskCoverage:
        return RiskCoverage(self.counts + other.counts)

    @property
    def n(self) -> int:
        """Images in all."""
        return self.counts.n

    @property
    def thresholds(self) -> NDArray[np.float64]:
        """Distinct confidences, falling, (m,)."""
        return self.counts.scores[::-1].copy()

    @property
    def coverage(self) -> NDArray[np.float64]:
        """Share of the images answered at each threshold, (m,), rising to 1."""
        return self._answered[1:] / max(self.n, 1)

    @property
    def risk(self) -> NDArray[np.float64]:
        """Share of wrong predictions among those answered at each threshold, (m,); the last is the error rate."""
        return self._errors[1:] / self._answered[1:]

    @property
    def area(self) -> float:
        """Area under the curve: the mean risk over the coverages 1/n, 2/n … 1; NaN when nothing was counted.

        Geifman, Uziel and El-Yaniv 2019, "Bias-reduced uncertainty estimation for deep neural classifiers", section 2.
        """
        return _area(self._answered, self._errors)

    @property
    def oracle_area(self) -> float:
        """The area if every right prediction were surer than every wrong one: the least at this error rate."""
        wrong = int(self._errors[-1])
        return _area(np.array([0, self.n - wrong, self.n]), np.array([0, 0, wrong]))

    @property
    def excess_area(self) -> float:
        """:attr:`area` beyond :attr:`oracle_area` (the same paper): 0 when confidence sorts right from wrong."""
        # Never below zero but for rounding.
        return max(self.area - self.oracle_area, 0.0)

    def risk_at(self, coverage: float) -> float:
        """Risk when this share of the images is answered, the surest first; where ties are cut, its mean over orders.

        Args:
            coverage: above 0, at most 1; need not fall on an image.

        Returns:
            A share in [0, 1]; NaN when nothing was counted.

        Raises:
            InputError: coverage out of range.
        """
        if not 0 < coverage <= 1:
            raise InputError(f"coverage lies above 0 and at most at 1, got {coverage}; 80 % is 0.8")
        if not self.n:
            return float("nan")
        images = coverage * self.n
        end = int(np.searchsorted(self._answered, images, side="left"))
        before, after = self._answered[end - 1], self._answered[end]
        added = (images - before) / (after - before) * (self._errors[end] - self._errors[end - 1])
        return float((self._errors[end - 1] + added) / images)

    def coverage_at(self, risk: float) -> float:
        """Largest coverage of a threshold whose risk is at most this.

        Ties are not cut here, because no threshold can: the figure is what a deployed rule reaches on these images.

        Args:
            risk: in [0, 1].

        Returns:
            A share in [0, 1], 0 when no threshold qualifies; NaN when nothing was counted.

        Raises:
            InputError: risk out of range.
        """
        place = self._last_at(risk)
        if not self.n:
            return float("nan")
        return float(self.coverage[place]) if place is not None else 0.0

    def threshold_at(self, risk: float) -> float:
        """The threshold of :meth:`coverage_at`: answer where confidence ≥ it.

        Chosen and judged on the same images, it flatters: choose on validation images.

        Args:
            risk: in [0, 1].

        Returns:
            A confidence; infinity when no threshold qualifies; NaN when nothing was counted.

        Raises:
            InputError: risk out of range.
        """
        place = self._last_at(risk)
        if not self.n:
            return float("nan")
        return float(self.thresholds[place]) if place is not None else float("inf")

    def _last_at(self, risk: float) -> int | None:
        if not 0 <= risk <= 1:
            raise InputError(f"risk lies in [0, 1], got {risk}; 5 % is 0.05")
        qualified = np.flatnonzero(self.risk <= risk)
        return int(qualified[-1]) if len(qualified) else None

    @property
    def _answered(self) -> NDArray[np.int64]:
        return np.concatenate(([0], np.cumsum((self.counts.positives + self.counts.negatives)[::-1])))

    @property
    def _errors(self) -> NDArray[np.int64]:
        return np.concatenate(([0], np.cumsum(self.counts.negatives[::-1])))


def _area(answered: NDArray[np.int64], errors: NDArray[np.int64]) -> float:
    """Mean over i = 1 … n of errors(i) / i, errors being linear between the ends of groups.

    For a group from b to b + m images with e errors after E: Σ (E + e (i − b)/m) / i = e + (E − b e/m) (H_{b+m} − H_b),
    with H the harmonic numbers. Memory: 8 bytes for each image.
    """
    n = int(answered[-1])
    if not n:
        return float("nan")
    harmonic = np.concatenate(([0.0], np.cumsum(1 / np.arange(1, n + 1))))
    images, wrong = np.diff(answered), np.diff(errors)
    rate = np.divide(wrong, images, out=np.zeros(len(images)), where=images > 0)
    sums = wrong + (errors[:-1] - answered[:-1] * rate) * np.diff(harmonic[answered])
    return float(sums.sum() / n)
