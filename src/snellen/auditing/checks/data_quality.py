"""Images in trouble: constant, very dark, blurred, clipped, or unlike all others."""

from __future__ import annotations

from typing import ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from snellen.auditing.gaps import ErrorGap, error_gap
from snellen.checks.check import Check, CheckInput, CheckResult, Kept, Several
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
    several: ClassVar[Several | None] = "each"
    reads: ClassVar[frozenset[Kept]] = frozenset({"features", "properties"})

    examples: int = Field(9, ge=0, description="pictures for each finding")

    def figure_names(self) -> frozenset[str]:
        """Known before the audit runs; see :meth:`Check.figure_names`."""
        return frozenset()  # it counts or points, and gives no figure

    def cost(self) -> float:
        """Properties are cheap beside a network."""
        return 0.1

    def conclude(self, reading: CheckInput) -> CheckResult:
        """Flagged images are reported without harm; a hypothesis for each trouble: the model errs no more on it."""
        images = reading.images
        flagged = flagged_images(images, seed=reading.rng.seed)
        if not flagged:
            return CheckResult()
        gaps = {one.name: _gap(one.rows, images) for one in flagged}
        return CheckResult(
            hypotheses=[
                self._hypothesis(one.name, one.rows, gap, images, reading.names)
                for one in flagged
                if (gap := gaps[one.name]) is not None
            ],
            findings=[self._finding(name, rows, images) for name, rows, _ in flagged if name == "constant"],
            panels=[
                Panel(
                    check=self.name,
                    title="Unusual images",
                    about="By rules on single images relative to their set. Being unusual is no fault.",
                    head=("trouble", "images", "error on them", "error on the rest", "rule"),
                    rows=tuple((name, len(rows), *_errors(gaps[name]), why) for name, rows, why in flagged),
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

    def _finding(self, name: str, rows: np.ndarray, images: PerImage) -> Finding:
        return Finding(
            kind="data_quality",
            subject=f"{name} images",
            harm=0.0,
            title=f"{len(rows)} images are {name}",
            facts={"images": len(rows)},
            examples=_examples(rows, images, (), self.examples),
        )


class Flagged(NamedTuple):
    """Images that one rule flags.

    Attributes:
        name: of the rule.
        rows: their positions, int64 (m,), the worst first.
        why: the rule in words.
    """

    name: str
    rows: NDArray[np.int64]
    why: str


def flagged_images(images: PerImage, *, seed: int) -> list[Flagged]:
    """Images that rules on their properties flag, and those that are far from all others in the model's features.

    Args:
        images: n usable ones; images whose features are not finite are no outliers.
        seed: of the neighbour search.
    """
    issues = [] if images.properties is None else quality_issues(images.properties)
    found = [Flagged(one.name, one.indices, one.why) for one in issues]
    if images.features is not None:
        finite = np.flatnonzero(np.isfinite(images.features).all(axis=1))
        if len(finite) >= SMALLEST_SET:
            rows = finite[feature_outliers(images.features[finite], seed=seed).indices]
            if len(rows):
                found.append(Flagged(OUTLIER, rows, "far from its nearest neighbours in the features of the model"))
    return found


def _gap(rows: np.ndarray, images: PerImage) -> ErrorGap | None:
    member = np.zeros(len(images), dtype=bool)
    member[rows] = True
    known = images.labelled
    weighed = images.weighed
    lost = None if weighed is None else weighed[known]
    return error_gap(~images.correct[known], member[known], images.units_of(known), lost)


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
