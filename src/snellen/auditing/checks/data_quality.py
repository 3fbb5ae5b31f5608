"""Images in trouble: constant, very dark, blurred, clipped, or unlike all others."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from pydantic import Field

from snellen.auditing.gaps import ErrorGap, error_gap
from snellen.checks.check import Check, Conclusion, Kept, Reading
from snellen.checks.hypothesis import Hypothesis
from snellen.checks.panels import Panel
from snellen.checks.per_image import PerImage
from snellen.core.finding import Finding, FindingExample
from snellen.metrics.inspection.outliers import SMALLEST_SET, feature_outliers
from snellen.metrics.inspection.quality import quality_issues

#: Name of the trouble of images that are far from all others in the features of the model.
OUTLIER = "unlike all others"


class DataQuality(Check):
    """Rules on the properties of single images, relative to their set, and outliers in the model's features."""

    name: ClassVar[str] = "data_quality"
    summary: ClassVar[str] = "damaged or unusual images, and whether the model errs on them"
    reads: ClassVar[frozenset[Kept]] = frozenset({"features", "properties"})

    examples: int = Field(9, ge=0, description="pictures for each finding")

    def cost(self) -> float:
        """Properties are cheap beside a network."""
        return 0.1

    def conclude(self, reading: Reading) -> Conclusion:
        """What was flagged is told without harm; a hypothesis for each trouble: the model errs no more on it."""
        images = reading.images
        troubles: dict[str, tuple[np.ndarray, str]] = {}
        if images.properties is not None:
            troubles |= {issue.name: (issue.indices, issue.why) for issue in quality_issues(images.properties)}
        if images.features is not None and len(images) >= SMALLEST_SET:
            rows = feature_outliers(images.features, seed=reading.rng.seed).indices
            if len(rows):
                troubles[OUTLIER] = (rows, "far from its nearest neighbours in the features of the model")
        if not troubles:
            return Conclusion()
        gaps = {name: _gap(rows, images) for name, (rows, _) in troubles.items()}
        return Conclusion(
            hypotheses=[
                self._hypothesis(name, troubles[name][0], gap, images, reading.names)
                for name, gap in gaps.items()
                if gap is not None
            ],
            findings=[self._told(name, rows, images) for name, (rows, _) in troubles.items() if name == "constant"],
            panels=[
                Panel(
                    check=self.name,
                    title="Unusual images",
                    about="By rules on single images relative to their set. Being unusual is no fault.",
                    head=("trouble", "images", "error on them", "error on the rest", "rule"),
                    rows=tuple((name, len(rows), *_errors(gaps[name]), why) for name, (rows, why) in troubles.items()),
                )
            ],
        )

    def _hypothesis(
        self, name: str, rows: np.ndarray, gap: ErrorGap, images: PerImage, names: tuple[str, ...]
    ) -> Hypothesis:
        def finding(harm: float) -> Finding:
            return Finding(
                kind="data_quality",
                subject=name,
                harm=harm,
                p_value=gap.p_value,
                title=(
                    f"{gap.inside_n} images that are {name} are right in {1 - gap.inside:.0%}, the rest in "
                    f"{1 - gap.outside:.0%}"
                ),
                facts={"images": gap.inside_n, "accuracy": 1 - gap.inside, "accuracy_elsewhere": 1 - gap.outside},
                examples=_examples(rows, images, names, self.examples),
            )

        return Hypothesis(gap.p_value, gap.harm, finding)

    def _told(self, name: str, rows: np.ndarray, images: PerImage) -> Finding:
        return Finding(
            kind="data_quality",
            subject=f"{name} images",
            harm=0.0,
            title=f"{len(rows)} images are {name}",
            facts={"images": len(rows)},
            examples=_examples(rows, images, (), self.examples),
        )


def _gap(rows: np.ndarray, images: PerImage) -> ErrorGap | None:
    member = np.zeros(len(images), dtype=bool)
    member[rows] = True
    known = images.labelled
    return error_gap(~images.correct[known], member[known], images.units_of(known))


def _errors(gap: ErrorGap | None) -> tuple[str, str]:
    return ("", "") if gap is None else (f"{gap.inside:.1%}", f"{gap.outside:.1%}")


def _examples(rows: np.ndarray, images: PerImage, names: tuple[str, ...], count: int) -> tuple[FindingExample, ...]:
    return tuple(
        FindingExample(
            example_id=images.ids[row],
            caption=f"{names[images.labels[row]]} → {names[images.predictions[row]]}"
            if names and images.labels[row] >= 0
            else "",
        )
        for row in rows[:count].tolist()
    )
