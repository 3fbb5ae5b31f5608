"""How well the scores separate the classes, over all thresholds; of a positive class, also at one threshold."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from snellen.checks.check import Check, CheckFigure, CheckInput, CheckResult, Companion, Kept, Several
from snellen.checks.panels import Line, Panel, Point
from snellen.checks.per_image import PerImage
from snellen.core.classifier import Classifier
from snellen.core.errors import InputError, unknown_name
from snellen.core.images import ImageSet
from snellen.core.method import Need
from snellen.metrics.auroc import macro_auroc
from snellen.metrics.auroc_interval import macro_auroc_interval
from snellen.metrics.clustered import clustered_share
from snellen.metrics.discrimination import ScoreCounts
from snellen.metrics.net_benefit import net_benefit, net_benefit_interval, treat_all
from snellen.metrics.operating_point import OperatingPoint
from snellen.metrics.temperature import tempered_probabilities
from snellen.metrics.unit_jackknife import design_effect
from snellen.metrics.units import dense_codes

#: Points of the drawn curve.
POINTS = 60

#: Points of the decision curve.
DECISION_POINTS = 33


class Discrimination(Check):
    """Area under the ROC curve, each class against all others; of a positive class figures at a threshold too."""

    name: ClassVar[str] = "discrimination"
    summary: ClassVar[str] = "area under the ROC curve; of two classes, sensitivity and predictive values"
    several: ClassVar[Several | None] = "each"
    needs: ClassVar[frozenset[Need]] = frozenset({"labels", "scores"})
    reads: ClassVar[frozenset[Kept]] = frozenset({"scores"})

    positive: str | None = Field(None, description="the positive class, beside all others; by default the last of two")
    specificity: float = Field(0.95, gt=0, lt=1, description="that the threshold has on the validation images")
    sensitivity: float | None = Field(
        None, gt=0, le=1, description="that the threshold has on the validation images, in place of a specificity"
    )
    threshold: float | None = Field(
        None, gt=0, lt=1, description="probability from which on an image is called positive, in place of a chosen one"
    )
    threshold_probability: float | None = Field(
        None,
        gt=0,
        lt=1,
        description="probability of the condition from which on one would act, at which the net benefit is reported; "
        "by default that of the costs",
    )
    prevalence: float | None = Field(
        None, gt=0, lt=1, description="at which predictive values are reported; by default that of the images"
    )

    def missing(self, classifier: Classifier, images: ImageSet, companions: frozenset[Companion]) -> str | None:
        """Why the check cannot run, or None when it can.

        Raises:
            InputError: the positive class is none of the classifier's, or what needs one is given without it; raised
                before anything is computed.
        """
        if self.positive is not None and self.positive not in classifier.class_names:
            raise unknown_name("class", self.positive, classifier.class_names)
        count = len(classifier.class_names)
        if self.positive is None and count != 2 and (unused := self._of_two):
            raise InputError(
                f"{' and '.join(unused)} {'is' if len(unused) == 1 else 'are'} of a positive class beside all others, "
                f"and {classifier.name} has {count} classes: name it, --set discrimination.positive="
                f"{classifier.class_names[-1]}"
            )
        stated = self.specificity != Discrimination.model_fields["specificity"].default
        choosing = ["sensitivity"] * (self.sensitivity is not None) + ["specificity"] * stated
        if len(choosing) + (self.threshold is not None) > 1:
            ways = [f"a {one}" for one in choosing] + ["a threshold"] * (self.threshold is not None)
            raise InputError(f"{' and '.join(ways)} are given, and each chooses the threshold; give one of them")
        if choosing and "val" not in companions:
            wanted = choosing[0]
            raise InputError(
                f"a {wanted} chooses a threshold, and none is chosen on the audited images: give --val DATA, or the "
                f"threshold itself, --set discrimination.threshold=0.3"
            )
        return super().missing(classifier, images, companions)

    def figure_names(self) -> frozenset[str]:
        """Known before the audit runs; see :meth:`Check.figure_names`."""
        return self._names(
            "auroc",
            "sensitivity",
            "specificity",
            "positive_predictive_value",
            "negative_predictive_value",
            "net_benefit",
        )

    @property
    def _of_two(self) -> list[str]:
        """Parameters that are given and mean something for a positive class alone."""
        names = ("prevalence", "sensitivity", "threshold", "threshold_probability")
        return [name for name in names if getattr(self, name) is not None]

    def cost(self) -> float:
        """Nothing but the clean scores is needed."""
        return 0.0

    def conclude(self, reading: CheckInput) -> CheckResult:
        """Figures and the ROC curve; nothing is tested."""
        known = reading.images.select(reading.images.labelled)
        if known.scores is None or len(known.classes_present()) < 2:
            return CheckResult()
        probabilities = tempered_probabilities(known.scores, 1.0)
        metrics = {"discrimination.auroc": self._area(known, probabilities)}
        if self.positive is None and len(reading.names) != 2:
            return CheckResult(metrics=metrics)
        place = 1 if self.positive is None else reading.names.index(self.positive)
        positive = known.labels == place
        if positive.all() or not positive.any():
            return CheckResult(metrics=metrics)
        counts = ScoreCounts.of(positive.astype(np.int64), probabilities[:, place])
        found, note = self._operating_point(known, counts, probabilities[:, place], place, reading)
        return CheckResult(
            metrics={**metrics, **found},
            panels=[
                _curve(counts, self.name, reading.names[place]),
                _decision_curve(probabilities[:, place], positive, known, self.prevalence, self.name),
            ],
            notes=[f"The positive class is {reading.names[place]}. {note}"],
        )

    def _area(self, known: PerImage, probabilities: NDArray[np.float64]) -> CheckFigure:
        low, high = macro_auroc_interval(known.labels, probabilities, known.units)
        return CheckFigure(value=macro_auroc(known.labels, probabilities).value, low=low, high=high, n=len(known))

    def _operating_point(
        self,
        known: PerImage,
        counts: ScoreCounts,
        scores: NDArray[np.float64],
        place: int,
        reading: CheckInput,
    ) -> tuple[dict[str, CheckFigure], str]:
        """Figures at the stated threshold, at one that validation images choose, or of the model's own decisions."""
        positive = known.labels == place
        called, chosen = self._called(known, scores, place, reading.companions.get("val"))
        point = OperatingPoint.of(positive, called)
        prevalence = point.prevalence if self.prevalence is None else self.prevalence
        figures = {
            "discrimination.sensitivity": (called[positive], known.units_of(positive)),
            "discrimination.specificity": (~called[~positive], known.units_of(~positive)),
        }
        found = {}
        for name, (right, units) in figures.items():
            low, high = clustered_share(right, units)
            found[name] = CheckFigure(value=float(right.mean()), low=low, high=high, n=len(right))
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
                found[f"discrimination.{name}"] = CheckFigure(
                    value=value, low=min(low, value), high=max(high, value), n=len(known)
                )
        note = (
            f"{chosen}; average precision {counts.average_precision:.4f}; predictive values are those at a "
            f"prevalence of {_percent(prevalence)}."
        )
        exchange = self._exchange(known, place)
        if exchange is not None:
            value = net_benefit(point.sensitivity, point.specificity, prevalence, exchange)
            low, high = net_benefit_interval(called, positive, known.units, exchange, self.prevalence)
            found["discrimination.net_benefit"] = CheckFigure(
                value=value, low=min(low, value), high=max(high, value), n=len(known)
            )
            best = max(treat_all(prevalence, exchange), 0.0)
            note += (
                f" Net benefit is that at a threshold probability of {exchange:.3g}: a missed positive is as bad as "
                f"{(1 - exchange) / exchange:.3g} false alarms. The better of calling all or none positive has "
                f"{best:.4f}."
            )
        return found, note

    def _called(
        self, known: PerImage, scores: NDArray[np.float64], place: int, val: PerImage | None
    ) -> tuple[NDArray[np.bool_], str]:
        """Which images are called positive, and how the threshold came about; never from the audited images."""
        if self.threshold is not None:
            return scores >= self.threshold, f"Its threshold, {self.threshold}, is stated"
        held = None if val is None else val.labelled & (val.labels == place)
        if val is None or held is None or val.scores is None or not held.any() or held.sum() == val.labelled.sum():
            why = "there are no validation images" if val is None else "the validation images are of one class"
            return known.predictions == place, (
                f"The decisions are the model's own, since {why} that could choose a threshold (--val DATA)"
            )
        rows = val.labelled
        sure = tempered_probabilities(val.scores[rows], 1.0)[:, place]
        chosen_on = ScoreCounts.of((val.labels[rows] == place).astype(np.int64), sure)
        if self.sensitivity is not None:
            threshold = chosen_on.threshold_at_sensitivity(self.sensitivity)
            wanted = f"that of the best specificity with a sensitivity of {_percent(self.sensitivity)}"
        else:
            threshold = chosen_on.threshold_at_specificity(self.specificity)
            wanted = f"that of the best sensitivity with a specificity of {_percent(self.specificity)}"
        if not np.isfinite(threshold):
            return np.zeros(len(scores), dtype=bool), (
                f"No score reaches a specificity of {_percent(self.specificity)} on the validation images: nothing is "
                f"called positive"
            )
        # In all digits: it is one of the scores, and an image with that score is called positive.
        return scores >= threshold, f"Its threshold, {threshold}, is {wanted} on the validation images"

    def _exchange(self, known: PerImage, place: int) -> float | None:
        """Threshold probability of the net benefit: stated, or false alarm / (false alarm + miss) by the costs."""
        if self.threshold_probability is not None or known.costs is None:
            return self.threshold_probability
        others = [one for one in range(len(known.costs)) if one != place]
        alarm, miss = float(known.costs[others, place].mean()), float(known.costs[place, others].mean())
        return alarm / (alarm + miss) if alarm > 0 and miss > 0 else None


def _percent(share: float) -> str:
    """A share in so many digits that it is neither 0 % nor 100 % where it is not."""
    return f"{100 * share:.6g}%"


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


def _decision_curve(
    scores: NDArray[np.float64], positive: NDArray[np.bool_], known: PerImage, prevalence: float | None, check: str
) -> Panel:
    """Net benefit at every threshold probability, beside calling all or none positive."""
    of = float(positive.mean()) if prevalence is None else prevalence
    points, every = list[Point](), list[Point]()
    for exchange in np.linspace(0.02, 0.98, DECISION_POINTS).round(3).tolist():
        called = scores >= exchange
        value = net_benefit(float(called[positive].mean()), float(1 - called[~positive].mean()), of, exchange)
        low, high = net_benefit_interval(called, positive, known.units, exchange, prevalence)
        # The benefit of finding all positives is their share; losses beyond it would flatten what matters.
        low, value, high = (max(one, -of) for one in (min(low, value), value, max(high, value)))
        points.append(Point(x=exchange, y=value, low=low, high=high))
        if (benefit := treat_all(of, exchange)) > -of:
            every.append(Point(x=exchange, y=benefit))
    ends = (Point(x=points[0].x, y=0.0), Point(x=points[-1].x, y=0.0))
    return Panel(
        check=check,
        title="Decision curve",
        about="Found positives less the false alarms that they are worth, for each image, if one acts from a "
        "probability on; with 95 % intervals over units. The lower edge stands for all that lies below it.",
        x_label="threshold probability",
        y_label="net benefit",
        lines=(
            Line(name="by the model", points=tuple(points)),
            Line(name="all positive", points=tuple(every), reference=True),
            Line(name="none positive", points=ends, reference=True),
        ),
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
