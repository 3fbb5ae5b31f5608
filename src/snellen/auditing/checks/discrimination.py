"""How well the scores separate the classes, over all thresholds; of two classes, also at a chosen one."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from snellen.checks.check import Check, Companion, Conclusion, Kept, Measured, Reading, Several
from snellen.checks.panels import Line, Panel, Point
from snellen.checks.per_image import PerImage
from snellen.core.classifier import Classifier
from snellen.core.errors import unknown_name
from snellen.core.images import ImageSet
from snellen.core.method import Need
from snellen.metrics.auroc import macro_auroc
from snellen.metrics.auroc_interval import macro_auroc_interval
from snellen.metrics.clustered import clustered_share
from snellen.metrics.discrimination import ScoreCounts
from snellen.metrics.operating_point import OperatingPoint
from snellen.metrics.temperature import tempered_probabilities
from snellen.metrics.unit_jackknife import design_effect
from snellen.metrics.units import dense_codes

#: Points of the drawn curve.
POINTS = 60


class Discrimination(Check):
    """Area under the ROC curve, each class against all others; of two classes sensitivity and predictive values."""

    name: ClassVar[str] = "discrimination"
    summary: ClassVar[str] = "area under the ROC curve; of two classes, sensitivity and predictive values"
    several: ClassVar[Several | None] = "each"
    needs: ClassVar[frozenset[Need]] = frozenset({"labels", "scores"})
    reads: ClassVar[frozenset[Kept]] = frozenset({"scores"})

    positive: str | None = Field(None, description="which of two classes is the positive one; by default the last")
    specificity: float = Field(0.95, gt=0, lt=1, description="at which the sensitivity is reported")
    prevalence: float | None = Field(
        None, gt=0, lt=1, description="at which predictive values are reported; by default that of the images"
    )

    def missing(self, classifier: Classifier, images: ImageSet, companions: frozenset[Companion]) -> str | None:
        """Why the check cannot run, or None when it can.

        Raises:
            InputError: the positive class is none of the classifier's; raised before anything is computed.
        """
        if self.positive is not None and self.positive not in classifier.class_names:
            raise unknown_name("class", self.positive, classifier.class_names)
        return super().missing(classifier, images, companions)

    def figure_names(self) -> frozenset[str]:
        """Known before the audit runs; see :meth:`Check.figure_names`."""
        return self._names(
            "auroc", "sensitivity", "specificity", "positive_predictive_value", "negative_predictive_value"
        )

    def cost(self) -> float:
        """Nothing but the clean scores is needed."""
        return 0.0

    def conclude(self, reading: Reading) -> Conclusion:
        """Figures and the ROC curve; nothing is tested."""
        known = reading.images.select(reading.images.labelled)
        if known.scores is None or len(known.classes_present()) < 2:
            return Conclusion()
        probabilities = tempered_probabilities(known.scores, 1.0)
        metrics = {"discrimination.auroc": self._area(known, probabilities)}
        if len(reading.names) != 2:
            given = [name for name in ("positive", "prevalence") if getattr(self, name) is not None]
            unused = f"{' and '.join(given)} not used: there are {len(reading.names)} classes, not two."
            return Conclusion(metrics=metrics, notes=[unused] if given else [])
        place = 1 if self.positive is None else reading.names.index(self.positive)
        counts = ScoreCounts.of((known.labels == place).astype(np.int64), probabilities[:, place])
        found, note = self._operating_point(known, counts, probabilities[:, place], place, reading)
        return Conclusion(
            metrics={**metrics, **found},
            panels=[_curve(counts, self.name, reading.names[place])],
            notes=[f"The positive class is {reading.names[place]}. {note}"],
        )

    def _area(self, known: PerImage, probabilities: NDArray[np.float64]) -> Measured:
        low, high = macro_auroc_interval(known.labels, probabilities, known.units)
        return Measured(value=macro_auroc(known.labels, probabilities).value, low=low, high=high, n=len(known))

    def _operating_point(
        self,
        known: PerImage,
        counts: ScoreCounts,
        scores: NDArray[np.float64],
        place: int,
        reading: Reading,
    ) -> tuple[dict[str, Measured], str]:
        """Figures at the threshold that the tuning images, or else these, choose for the wanted specificity."""
        tune = reading.companions.get("tune")
        chosen_on, chosen_from = counts, "these images, so that its figures are a little too good"
        if tune is not None and tune.scores is not None and len(tune.classes_present()) == 2:
            rows = tune.labelled
            sure = tempered_probabilities(tune.scores[rows], 1.0)[:, place]
            chosen_on = ScoreCounts.of((tune.labels[rows] == place).astype(np.int64), sure)
            chosen_from = "the tuning images"
        threshold = chosen_on.threshold_at_specificity(self.specificity)
        positive, called = known.labels == place, scores >= threshold
        point = OperatingPoint.of(positive, called)
        prevalence = point.prevalence if self.prevalence is None else self.prevalence
        figures = {
            "discrimination.sensitivity": (called[positive], known.units_of(positive)),
            "discrimination.specificity": (~called[~positive], known.units_of(~positive)),
        }
        found = {}
        for name, (right, units) in figures.items():
            low, high = clustered_share(right, units)
            found[name] = Measured(value=float(right.mean()), low=low, high=high, n=len(right))
        alike = _fewer(point, called, positive, known)
        for name, value, interval, decided in (
            (
                "positive_predictive_value",
                point.positive_predictive_value_at(prevalence),
                alike.positive_predictive_value_interval_at(prevalence),
                called,
            ),
            (
                "negative_predictive_value",
                point.negative_predictive_value_at(prevalence),
                alike.negative_predictive_value_interval_at(prevalence),
                ~called,
            ),
        ):
            if np.isfinite(value):
                # At the images' own prevalence, which is no more certain than they are, it is a share of images.
                own = clustered_share((positive == called)[decided], known.units_of(decided))
                low, high = own if self.prevalence is None else interval
                found[f"discrimination.{name}"] = Measured(
                    value=value, low=min(low, value), high=max(high, value), n=len(known)
                )
        wanted = f"a specificity of {self.specificity:.0%} on {chosen_from}"
        chosen = (
            f"Its threshold, {threshold:.4g}, is the lowest with {wanted}"
            if np.isfinite(threshold)
            else f"No score reaches {wanted}: nothing is called positive"
        )
        note = (
            f"{chosen}; average precision {counts.average_precision:.4f}; predictive values are those at a "
            f"prevalence of {prevalence:.1%}."
        )
        return found, note


def _fewer(
    point: OperatingPoint, called: NDArray[np.bool_], positive: NDArray[np.bool_], known: PerImage
) -> OperatingPoint:
    """As many decisions as would say as much if images were independent."""
    if known.units is None:
        return point
    effect = {
        who: design_effect(called[of].astype(np.float64), dense_codes(known.units_of(of), int(of.sum())))
        for who, of in ((True, positive), (False, ~positive))
    }
    return OperatingPoint(
        true_positives=round(point.true_positives / effect[True]),
        false_negatives=round(point.false_negatives / effect[True]),
        true_negatives=round(point.true_negatives / effect[False]),
        false_positives=round(point.false_positives / effect[False]),
    )


def _curve(counts: ScoreCounts, check: str, positive: str) -> Panel:
    points = counts.roc_points()
    rows = np.unique(np.linspace(0, len(points.sensitivity) - 1, POINTS).round().astype(int))
    return Panel(
        check=check,
        title="ROC curve",
        about=f"How many images of {positive} are found, against how many others are taken for it.",
        x_label="1 − specificity",
        y_label="sensitivity",
        lines=(
            Line(
                name="at all thresholds",
                points=tuple(
                    Point(x=float(points.false_positive_rate[row]), y=float(points.sensitivity[row])) for row in rows
                ),
            ),
            Line(name="guessing", points=(Point(x=0, y=0), Point(x=1, y=1)), reference=True),
        ),
    )
