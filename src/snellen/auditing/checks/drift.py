"""Do the audited images come from another distribution than the training images."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from pydantic import Field

from snellen.auditing.checks.slices import WORDS
from snellen.checks.check import Check, CheckFigure, CheckInput, CheckResult, Companion, Kept, Several
from snellen.checks.hypothesis import AREA_HARM, Hypothesis
from snellen.checks.panels import Panel
from snellen.checks.per_image import PerImage
from snellen.core.finding import Finding, FindingExample
from snellen.metrics.inspection.column_drift import LabelDrift, PropertyDrift, label_drift, property_drift
from snellen.metrics.inspection.drift import FEWEST_UNITS, FeatureDrift, feature_drift

#: Means that differ by less, in standard deviations, do not separate two sets.
TELLING_DIFFERENCE = 0.1


class Drift(Check):
    """Two-sample tests on features, image properties and labels."""

    name: ClassVar[str] = "drift"
    summary: ClassVar[str] = "differences between training and audited images"
    several: ClassVar[Several | None] = "apart"
    reads: ClassVar[frozenset[Kept]] = frozenset({"features", "properties"})
    compares_with: ClassVar[frozenset[Companion]] = frozenset({"train"})

    permutations: int = Field(
        999, ge=99, description="permutations of each test; 20 times as many if none is as extreme"
    )
    examples: int = Field(9, ge=0, description="pictures of the most foreign images")

    def figure_names(self) -> frozenset[str]:
        """Known before the audit runs; see :meth:`Check.figure_names`."""
        return self._names("auroc")

    def cost(self) -> float:
        """Features come with the clean scores."""
        return 0.1

    def conclude(self, reading: CheckInput) -> CheckResult:
        """One hypothesis for the features, one for each property, one for the labels: nothing has changed."""
        train, images = reading.companions["train"], reading.images
        held = [len(set(one.unit_ids)) for one in (train, images)]
        if min(held) < FEWEST_UNITS:
            return CheckResult(
                skipped=f"needs {FEWEST_UNITS} images or units that can be used in each of the two sets; training has "
                f"{held[0]}, the audited set {held[1]}"
            )
        metrics, hypotheses, panels = dict[str, CheckFigure](), list[Hypothesis](), list[Panel]()
        if train.features is not None and images.features is not None:
            found = feature_drift(
                train.features,
                images.features,
                first_units=train.units,
                second_units=images.units,
                permutations=self.permutations,
                shown=self.examples,
                seed=reading.rng.seed,
            )
            low, high = found.interval
            metrics["drift.auroc"] = CheckFigure(value=found.auroc, low=low, high=high, n=len(images))
            hypotheses.append(self._of_features(found, images))
        if train.properties is not None and images.properties is not None:
            properties = property_drift(
                train.properties.by_name(),
                images.properties.by_name(),
                first_units=train.units,
                second_units=images.units,
                permutations=self.permutations,
                seed=reading.rng.seed,
            )
            hypotheses += [_of_property(one) for one in properties]
            panels.append(_panel(properties))
        if train.labelled.any() and images.labelled.any():
            labels = label_drift(
                train.labels[train.labelled],
                images.labels[images.labelled],
                classes=len(reading.names),
                first_units=train.units_of(train.labelled),
                second_units=images.units_of(images.labelled),
                permutations=self.permutations,
                seed=reading.rng.seed,
            )
            hypotheses.append(_of_labels(labels, reading.names))
        return CheckResult(
            metrics=metrics,
            hypotheses=hypotheses,
            panels=panels,
            notes=[
                "Harm of drift is read from a table: 0.005 from 0.7 on, 0.05 from 0.9 on. What counts is the lower end "
                "of the area with which a simple classifier separates training and audited images. Drift is no loss of "
                "accuracy. A model that has memorised its training images may take them otherwise than new ones."
            ],
        )

    def _of_features(self, found: FeatureDrift, images: PerImage) -> Hypothesis:
        finding = Finding(
            kind="drift",
            subject="features",
            harm=0.0,
            p_value=found.p_value,
            title=(
                f"Audited images differ from training images: a simple classifier separates them with an area of "
                f"{found.auroc:.2f} (0.5 is chance)"
            ),
            facts={"auroc": found.auroc, "auroc_low": found.interval.low, "auroc_high": found.interval.high},
            examples=tuple(
                FindingExample(example_id=images.ids[row], caption="looks least like training")
                for row in found.foreign.tolist()
            ),
        )

        def harm(confidence: float) -> float:
            low = found.lower(confidence)
            return next(harm for bound, harm in AREA_HARM if low >= bound)

        return Hypothesis(found.p_value, harm, lambda size: finding.model_copy(update={"harm": size}))


def _of_property(one: PropertyDrift) -> Hypothesis:
    finding = Finding(
        kind="drift",
        subject=one.name,
        harm=0.0,
        p_value=one.p_value,
        title=_title(one),
        facts={"property": one.name, "difference_in_sd": one.difference, "kolmogorov_distance": one.distance},
    )
    return Hypothesis(one.p_value, lambda _: 0.0, lambda _: finding)


def _title(one: PropertyDrift) -> str:
    name = one.name.replace("_", " ")
    if one.spread == 0:
        return f"All audited images have another {name} than the training images"
    if abs(one.difference) < TELLING_DIFFERENCE:
        return f"Audited images are differently spread in {name} than training images"
    words = WORDS.get(one.name, (f"of less {name}", f"of more {name}"))[one.difference > 0]
    return f"Audited images are {words} than training images, by {abs(one.difference):.1f} standard deviations"


def _of_labels(found: LabelDrift, names: tuple[str, ...]) -> Hypothesis:
    most = int(np.abs(found.changes).argmax())
    finding = Finding(
        kind="drift",
        subject="labels",
        harm=0.0,
        p_value=found.p_value,
        title=(
            f"Classes are of other shares than in training; {names[most]} most, by "
            f"{100 * found.changes[most]:+.1f} points"
        ),
        facts={"total_variation": found.distance, "class": names[most], "change": float(found.changes[most])},
    )
    return Hypothesis(found.p_value, lambda _: 0.0, lambda _: finding)


def _panel(properties: tuple[PropertyDrift, ...]) -> Panel:
    return Panel(
        check="drift",
        title="Properties of training and audited images",
        about="Difference of the means, audited less training, in standard deviations.",
        head=("property", "difference", "distance of the distributions", "p"),
        rows=tuple(
            (one.name, round(one.difference, 3), round(one.distance, 3), float(f"{one.p_value:.2g}"))
            for one in properties
        ),
    )
