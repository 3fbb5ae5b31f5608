"""If the model may keep silent when unsure: how often is it wrong on what it answers."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from snellen.auditing.check import Check, Conclusion, Measured, Reading
from snellen.auditing.panels import Line, Panel, Point
from snellen.auditing.per_image import PerImage
from snellen.method import Need
from snellen.metrics.bootstrap import cluster_bootstrap
from snellen.metrics.intervals import wilson
from snellen.metrics.selective import RiskCoverage

#: Points of the drawn curve.
POINTS = 25

#: With fewer units nothing is said of how certain the area is.
LEAST_UNITS = 20


class Selective(Check):
    """Risk against coverage, by confidence."""

    name: ClassVar[str] = "selective"
    summary: ClassVar[str] = "error among the images that the model is surest of"
    needs: ClassVar[frozenset[Need]] = frozenset({"labels", "scores"})

    risk: float = Field(0.01, gt=0, lt=1, description="error that may remain among the answered images")
    resamples: int = Field(200, ge=50, description="resamples for the interval of the area")

    def cost(self) -> float:
        """Nothing but the clean scores is needed."""
        return 0.0

    def conclude(self, reading: Reading) -> Conclusion:
        """Area under the risk-coverage curve, and how much can be answered at the allowed risk."""
        known = reading.images.select(reading.images.labelled)
        if not len(known) or known.confidence is None:
            return Conclusion()
        curve, n = RiskCoverage.of(known.confidence, known.correct), len(known)
        metrics = {"selective.aurc": Measured(value=curve.area, **self._interval(known), n=n)}
        coverage = curve.coverage_at(self.risk)
        low, high = wilson(round(coverage * n), n)
        metrics["selective.coverage"] = Measured(value=coverage, low=low, high=high, n=n)
        return Conclusion(
            metrics=metrics,
            panels=[self._panel(curve, known)],
            notes=[
                f"selective.coverage is the share of images that can be answered, the surest first, with an error of "
                f"at most {self.risk:.1%} among them. Its interval takes the threshold as given."
            ],
        )

    def _interval(self, known: PerImage) -> dict[str, float]:
        """95 % interval of the area, by the bootstrap over units."""
        sure, right = known.confidence, known.correct
        assert sure is not None
        if len(set(known.unit_ids)) < LEAST_UNITS:
            return {"low": 0.0, "high": 1.0}

        def area(weights: NDArray[np.float64]) -> float:
            rows = np.repeat(np.arange(len(sure)), weights.astype(np.int64))
            return RiskCoverage.of(sure[rows], right[rows]).area

        sample = cluster_bootstrap(
            area, len(known), known.units, resamples=self.resamples, rng=np.random.default_rng(0), jackknife_groups=2
        )
        low, high = sample.percentile()
        return {"low": low, "high": high}

    def _panel(self, curve: RiskCoverage, known: PerImage) -> Panel:
        assert known.confidence is not None
        ordered = known.correct[np.argsort(-known.confidence, kind="stable")]
        points = []
        for coverage in np.linspace(1 / POINTS, 1, POINTS):
            answered = max(round(coverage * len(known)), 1)
            wrong = answered - int(ordered[:answered].sum())
            low, high = wilson(wrong, answered)
            points.append(Point(x=round(float(coverage), 4), y=curve.risk_at(float(coverage)), low=low, high=high))
        error = float(1 - known.correct.mean())
        return Panel(
            check=self.name,
            title="Risk against coverage",
            about="Error among the images that the model is surest of. Dashed: confidence that tells nothing.",
            x_label="share of images answered",
            y_label="error among them",
            lines=(
                Line(name="by confidence", points=tuple(points)),
                Line(name="at random", points=(Point(x=0, y=error), Point(x=1, y=error)), reference=True),
            ),
        )
