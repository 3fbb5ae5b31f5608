"""Known groups, such as hospitals or cameras: is one of them served worse than the rest."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from snellen.auditing.factor_findings import conclude_factors
from snellen.auditing.gaps import error_gap, gap_sight
from snellen.checks.check import Check, CheckFigure, CheckInput, CheckResult, Several
from snellen.checks.hypothesis import Hypothesis
from snellen.checks.panels import Panel
from snellen.checks.per_image import PerImage, confident_mistakes, rows_of
from snellen.core.finding import Finding
from snellen.core.method import Need
from snellen.metrics.clustered import clustered_share


class GroupGap(Check):
    """Accuracy of each group of the column ``group`` against all others; of several factors, by each and each pair."""

    name: ClassVar[str] = "group_gap"
    summary: ClassVar[str] = "is a known group (hospital, camera, background) served worse than the rest"
    several: ClassVar[Several | None] = "sides"
    needs: ClassVar[frozenset[Need]] = frozenset({"labels", "groups"})

    examples: int = Field(5, ge=0, description="pictures for each finding")

    def figure_names(self) -> frozenset[str]:
        """Known before the audit runs; see :meth:`Check.figure_names`."""
        return self._names("worst_accuracy", "worst_pair_accuracy", "judged", "label_auroc")

    def cost(self) -> float:
        """Nothing but the clean scores is needed."""
        return 0.0

    def conclude(self, reading: CheckInput) -> CheckResult:
        """One hypothesis for each group: it is no worse than the others; see also :func:`conclude_factors`."""
        if reading.images.factors:
            return conclude_factors(reading, self.examples)
        kept = np.array([group is not None for group in reading.images.groups]) & reading.images.labelled
        known = reading.images.select(kept)
        members = rows_of(known.groups)
        if not members:
            return CheckResult()
        figures = {name: _accuracy(known, rows) for name, rows in sorted(members.items())}
        worst = min(figures, key=lambda name: figures[name].value)
        tested = [self._hypothesis(name, rows, known, reading.names) for name, rows in sorted(members.items())]
        return CheckResult(
            metrics={"group_gap.worst_accuracy": figures[worst]},
            hypotheses=[hypothesis for hypothesis in tested if hypothesis is not None],
            panels=[
                Panel(
                    check=self.name,
                    title="Accuracy by group",
                    about="With 95 % intervals over independent units.",
                    head=("group", "images", "accuracy", "from", "to"),
                    rows=tuple(
                        (name, figure.n, round(figure.value, 4), round(figure.low, 4), round(figure.high, 4))
                        for name, figure in sorted(figures.items(), key=lambda pair: pair[1].value)
                    ),
                )
            ],
            sight=[gap_sight("group", {name: _member(rows, known) for name, rows in members.items()}, known)],
        )

    def _hypothesis(self, name: str, rows: np.ndarray, known: PerImage, names: tuple[str, ...]) -> Hypothesis | None:
        member = _member(rows, known)
        gap = error_gap(~known.correct, member, known.units, known.weighed)
        if gap is None:
            return None

        def finding(harm: float) -> Finding:
            return Finding(
                kind="group_gap",
                subject=name,
                harm=harm,
                p_value=gap.p_value,
                title=f"Group {name} is right in {1 - gap.inside:.0%} of its images, others in {1 - gap.outside:.0%}",
                facts={
                    "group": name,
                    "images": gap.inside_n,
                    "accuracy": 1 - gap.inside,
                    "accuracy_elsewhere": 1 - gap.outside,
                    **gap.costs,
                },
                examples=confident_mistakes(known.select(member), names, self.examples),
            )

        return Hypothesis(gap.p_value, gap.harm, finding)


def _member(rows: NDArray[np.int64], known: PerImage) -> NDArray[np.bool_]:
    member = np.zeros(len(known), dtype=bool)
    member[rows] = True
    return member


def _accuracy(known: PerImage, rows: np.ndarray) -> CheckFigure:
    right = known.correct[rows]
    low, high = clustered_share(right, known.units_of(rows))
    return CheckFigure(value=float(right.mean()), low=low, high=high, n=len(rows))
