"""If the model may keep silent when unsure: how often is it wrong on what it answers."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from pydantic import Field

from snellen.checks.check import Check, CheckFigure, CheckInput, CheckResult, Several
from snellen.checks.panels import Line, Panel, Point
from snellen.checks.per_image import PerImage
from snellen.core.method import Need
from snellen.metrics.clustered import clustered_share
from snellen.metrics.selective import RiskCoverage
from snellen.metrics.selective_intervals import area_interval, coverage_interval, least_images

#: Points of the drawn curve.
POINTS = 25


class Selective(Check):
    """Risk against coverage, by confidence."""

    name: ClassVar[str] = "selective"
    summary: ClassVar[str] = "error among the images that the model is surest of"
    several: ClassVar[Several | None] = "each"
    needs: ClassVar[frozenset[Need]] = frozenset({"labels", "scores"})

    risk: float = Field(0.01, gt=0, lt=1, description="error that may remain among the answered images")

    def figure_names(self) -> frozenset[str]:
        """Known before the audit runs; see :meth:`Check.figure_names`."""
        return self._names("aurc", "coverage")

    def cost(self) -> float:
        """Nothing but the clean scores is needed."""
        return 0.0

    def conclude(self, reading: CheckInput) -> CheckResult:
        """Area under the risk-coverage curve, and how much can be answered at the allowed risk.

        The latter is no figure where its interval is all of 0 to 1: a share that may be any share.
        """
        known = reading.images.select(reading.images.labelled)
        if not len(known) or known.confidence is None:
            return CheckResult()
        curve, n = RiskCoverage.of(known.confidence, known.correct), len(known)
        area, coverage = curve.area, curve.coverage_at(self.risk)
        metrics = {}
        for name, value, (low, high) in (
            ("aurc", area, area_interval(known.confidence, known.correct, known.units)),
            ("coverage", coverage, coverage_interval(known.confidence, known.correct, self.risk, known.units)),
        ):
            metrics[f"selective.{name}"] = CheckFigure(value=value, low=min(low, value), high=max(high, value), n=n)
        note = (
            f"selective.coverage is the share of images that can be answered, the surest first, with an error of at "
            f"most {self.risk:.1%} among them. Its interval holds the coverages at which the true error may be just "
            f"that; without hundreds of images it is wide, and starts at 0."
        )
        if (metrics["selective.coverage"].low, metrics["selective.coverage"].high) == (0, 1):
            del metrics["selective.coverage"]
            needed = least_images(self.risk)
            why = (
                f"About {needed:,} that are independent are needed at least. A larger error that may remain needs fewer"
                if n < needed
                else "There are errors among the surest, and not surely more than that among all. Try another error"
            )
            note = (
                f"selective.coverage is not given: at an error of at most {self.risk:.1%} these {n:,} images leave "
                f"every share from 0 to 1 possible. {why} (--set selective.risk=SHARE)."
            )
        return CheckResult(metrics=metrics, panels=[self._panel(curve, known)], notes=[note])

    def _panel(self, curve: RiskCoverage, known: PerImage) -> Panel:
        assert known.confidence is not None
        order = np.argsort(-known.confidence, kind="stable")
        wrong = ~known.correct[order]
        points = []
        for coverage in np.linspace(1 / POINTS, 1, POINTS):
            answered = max(round(coverage * len(known)), 1)
            low, high = clustered_share(wrong[:answered], known.units_of(order[:answered]))
            points.append(Point(x=round(float(coverage), 4), y=curve.risk_at(float(coverage)), low=low, high=high))
        error = float(1 - known.correct.mean())
        return Panel(
            check=self.name,
            title="Risk against coverage",
            about="Error among the images that the model is surest of. Dashed: confidence without information.",
            x_label="share of images answered",
            y_label="error among them",
            lines=(
                Line(name="by confidence", points=tuple(points)),
                Line(name="at random", points=(Point(x=0, y=error), Point(x=1, y=error)), reference=True),
            ),
        )
