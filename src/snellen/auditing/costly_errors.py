"""Errors that do not cost alike: what decisions cost, and what decisions by cost would save."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from snellen.checks.check import CheckFigure, CheckInput
from snellen.checks.hypothesis import Hypothesis
from snellen.checks.panels import Panel
from snellen.checks.per_image import PerImage
from snellen.core.finding import Finding, FindingExample
from snellen.data.files.costs import regrets
from snellen.metrics.clustered import ClusteredMean, clustered_mean
from snellen.metrics.loss_interval import loss_interval
from snellen.metrics.temperature import fit_temperature, tempered_probabilities

#: Rows of the table of costly errors.
PAIRS = 12

#: What a reader must know where costs are given.
COUNTED = (
    "Costs were given: harm counts what errors cost beyond the right decision, as a share of the costliest error. This "
    "holds for accuracy, classes, groups, slices, data quality, foreign images, corruptions and declared threats. "
    "Findings of other checks count every error as the costliest one."
)


@dataclass(frozen=True, eq=False)
class CostlyErrors:
    """What the decisions on labelled images cost.

    Attributes:
        known: labelled images, with costs.
        table: float64 (k, k), cost of each decision on each true class, in the user's unit.
        cheapest: (n,) the class of least expected cost; None without probabilities.
        fitted: whether validation images gave the probabilities a temperature.
    """

    known: PerImage
    table: NDArray[np.float64]
    cheapest: NDArray[np.int64] | None
    fitted: bool

    @classmethod
    def of(cls, known: PerImage, costs: Sequence[Sequence[float]], reading: CheckInput) -> CostlyErrors | None:
        """None where images carry no costs."""
        if known.costs is None:
            return None
        cheapest, val = None, reading.companions.get("val")
        fitted = val is not None and val.scores is not None and bool(val.labelled.any())
        if known.scores is not None and reading.classifier.output != "labels":
            temperature = 1.0
            if fitted and val is not None and val.scores is not None:
                rows = val.labelled
                temperature = fit_temperature(val.scores[rows], val.labels[rows]).temperature
            expected = tempered_probabilities(known.scores, temperature) @ regrets(costs)
            own = expected[np.arange(len(known)), known.predictions]
            # Where the decision costs as little as any, it stays.
            best = expected.argmin(1)
            cheapest = np.where(expected.min(1) < own - 1e-12, best, known.predictions)
        return cls(known, np.asarray(costs, dtype=np.float64), cheapest, fitted)

    def metrics(self) -> dict[str, CheckFigure]:
        """Mean cost of a decision, and what decisions by cost would save of it, in the user's unit."""
        paid, n = self.table[self.known.labels, self.known.predictions], len(self.known)
        most = float(self.table.max())
        low, high = loss_interval(paid, self.known.units, large=most, most=most)
        value = float(paid.mean())
        found = {"clean.cost": CheckFigure(value=value, low=min(low, value), high=max(high, value), n=n)}
        if self.cheapest is not None:
            saved = self._saved()
            value = float((paid - self.table[self.known.labels, self.cheapest]).mean())
            low, high = (self._unit * end for end in saved.interval())
            found["clean.cost_saved"] = CheckFigure(
                value=value, low=max(min(low, value), -most), high=min(max(high, value), most), n=n
            )
        return found

    @property
    def _unit(self) -> float:
        """What the costliest error costs beyond the right decision."""
        return float((self.table - np.diag(self.table)[:, None]).max())

    def _saved(self) -> ClusteredMean:
        assert self.cheapest is not None
        return clustered_mean(self.known.lost - self.known.loss_of(self.cheapest), self.known.units, pseudo_units=1.0)

    def hypotheses(self, names: tuple[str, ...], examples: int) -> list[Hypothesis]:
        """That decisions by cost save nothing."""
        if self.cheapest is None or (self.cheapest == self.known.predictions).all():
            return []
        saved, known, cheapest = self._saved(), self.known, self.cheapest
        before, after = (float(self.table[known.labels, one].mean()) for one in (known.predictions, cheapest))

        def finding(harm: float) -> Finding:
            gain = known.lost - known.loss_of(cheapest)
            rows = sorted(np.flatnonzero(gain > 0).tolist(), key=lambda row: (-gain[row], known.ids[row]))
            return Finding(
                kind="costly_decisions",
                harm=harm,
                p_value=saved.p_value(),
                title=(
                    f"Decisions for the class of least expected cost would cost {after:.3g} an image in place of "
                    f"{before:.3g}"
                ),
                facts={
                    "mean_cost": before,
                    "mean_cost_by_cost": after,
                    "decisions_that_change": int((cheapest != known.predictions).sum()),
                    "accuracy": float(known.correct.mean()),
                    "accuracy_by_cost": float((cheapest == known.labels).mean()),
                    "probabilities": "with a temperature of the validation images" if self.fitted else "as they are",
                },
                examples=tuple(
                    FindingExample(
                        example_id=known.ids[row],
                        caption=f"{names[known.labels[row]]} → {names[known.predictions[row]]}, by cost "
                        f"{names[cheapest[row]]}",
                    )
                    for row in rows[:examples]
                ),
            )

        return [Hypothesis(saved.p_value(), lambda level: max(saved.lower(level), 0.0), finding)]

    def panel(self, names: tuple[str, ...]) -> Panel:
        """The errors that cost most in all."""
        times = np.zeros(self.table.shape)
        np.add.at(times, (self.known.labels, self.known.predictions), 1)
        beyond = self.table - np.diag(self.table)[:, None]
        total = times * beyond
        order = sorted(
            ((label, other) for label, other in zip(*np.nonzero(total), strict=True)),
            key=lambda pair: (-total[pair], pair),
        )
        whole = float(total.sum())
        return Panel(
            check="clean",
            title="What errors cost",
            about="Errors that cost most in all, beyond the right decision, in the unit of the costs.",
            head=("true class", "taken for", "images", "cost of one", "cost of all", "share"),
            rows=tuple(
                (
                    names[label],
                    names[other],
                    int(times[label, other]),
                    round(float(beyond[label, other]), 4),
                    round(float(total[label, other]), 4),
                    round(float(total[label, other]) / whole, 4),
                )
                for label, other in order[:PAIRS]
            ),
        )
