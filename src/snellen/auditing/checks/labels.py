"""Models of several labels an image: how well each label is seen and found, and at which threshold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field

from snellen.auditing.label_figures import OF_EACH, OVERALL, measured
from snellen.auditing.label_hypotheses import (
    Fitted,
    fitted_threshold,
    found_more_rarely,
    not_seen,
    other_threshold,
    stated_threshold,
    tested,
)
from snellen.checks.check import Check, CheckFigure, CheckInput, CheckResult, Companion, Kept, Several
from snellen.checks.label_sets import LabelSets
from snellen.checks.panels import Panel
from snellen.checks.per_image import PerImage
from snellen.core.classifier import Classifier, Task
from snellen.core.images import ImageSet
from snellen.core.method import Need


class Labels(Check):
    """Area, recall and specificity of each label, and over all of them; labels that are not seen, or found rarely."""

    name: ClassVar[str] = "labels"
    summary: ClassVar[str] = "how well each of several labels an image is seen and found (task multi_label)"
    needs: ClassVar[frozenset[Need]] = frozenset({"labels"})
    tasks: ClassVar[frozenset[Task]] = frozenset({"multilabel"})
    several: ClassVar[Several | None] = "itself"
    by_default: ClassVar[bool] = False
    reads: ClassVar[frozenset[Kept]] = frozenset({"scores"})

    thresholds: Mapping[str, Annotated[float, Field(gt=0, lt=1)]] = Field(
        default_factory=dict,
        description="probability above which a label is given, by label, in every check; others: 0.5",
    )
    examples: int = Field(5, ge=0, description="pictures for each finding")

    def missing(self, classifier: Classifier, images: ImageSet, companions: frozenset[Companion]) -> str | None:
        """Why the check cannot run, or None when it can.

        Raises:
            UnknownNameError: a threshold of a label that the model does not have; raised before anything is computed.
            InputError: thresholds of a model that gives decisions only.
        """
        if classifier.task not in self.tasks:
            return super().missing(classifier, images, companions)
        with_thresholds(classifier, [self])
        return without_labels(images)

    def cost(self) -> float:
        """Nothing but the clean scores is needed."""
        return 0.0

    def conclude(self, reading: CheckInput) -> CheckResult:
        """Figures of all labels and of each; for each label three hypotheses."""
        sets, names = reading.images.sets, reading.names
        if sets is None or not sets.judged.any():
            return CheckResult(skipped="no usable image has labels")
        known = reading.images.select(sets.judged)
        sets = known.sets
        assert sets is not None
        seed = reading.rng.child(self.name).generator("resamples").initial_seed()
        figures = {name: measured(name, sets, known.units, seed) for name in OVERALL}
        for place, label in enumerate(names):
            figures |= {f"{label}.{name}": measured(name, sets, known.units, seed, place) for name in OF_EACH}
        val = reading.companions.get("val")
        fitted = [fitted_threshold(known, sets, val.sets if val else None, at) for at in range(len(names))]
        judged = [place for place in range(len(names)) if tested(sets, place, known.units)]
        hypotheses = []
        for place in judged:
            others = [one for one in judged if one != place]
            hypotheses += [
                not_seen(known, sets, place, names[place], seed=seed, examples=self.examples),
                found_more_rarely(known, sets, place, names, others, seed=seed, examples=self.examples),
            ]
            if (other := fitted[place]) is not None:
                used = threshold_of(reading.classifier, place)
                hypotheses.append(other_threshold(known, sets, place, names[place], used, other, seed=seed))
        return CheckResult(
            metrics={f"{self.name}.{name}": one for name, one in figures.items() if one is not None},
            hypotheses=[one for one in hypotheses if one is not None],
            panels=[_table(self.name, known, sets, reading.classifier, figures, fitted)],
            lists={self.name: _mistakes(known, sets, names)},
            notes=_notes(names, judged, sets),
        )


def without_labels(images: ImageSet) -> str | None:
    """Why images cannot be judged by several labels; None where they can."""
    if images.has_labels and any(row is not None for row in images.column("labels")):
        return None
    came = "one class for each image" if images.has_labels else "none"
    return (
        f"needs several labels for each image, and {images.name} has {came}. Give a column labels with names between "
        f"|, one column for each label (--column labels=effusion,edema), or 0/1 (n, k)"
    )


def with_thresholds(classifier: Classifier, checks: Sequence[Check]) -> Classifier:
    """The classifier with the thresholds that the check names, as it decides throughout the audit."""
    for check in checks:
        if isinstance(check, Labels) and check.thresholds:
            return classifier.with_thresholds(check.thresholds)
    return classifier


def without_thresholds(checks: Sequence[Check]) -> list[Check]:
    """The same checks without thresholds: the classifier decides as it is."""
    return [one.model_copy(update={"thresholds": {}}) if isinstance(one, Labels) else one for one in checks]


def threshold_of(classifier: Classifier, place: int) -> float:
    """Probability above which a label is given."""
    return 0.5 if classifier.thresholds is None else classifier.thresholds[place]


def _table(
    check: str,
    known: PerImage,
    sets: LabelSets,
    classifier: Classifier,
    figures: Mapping[str, CheckFigure | None],
    fitted: Sequence[Fitted | None],
) -> Panel:
    def shown(label: str, name: str) -> float | str:
        found = figures[f"{label}.{name}"]
        return "" if found is None else round(found.value, 4)

    rows = []
    for place, label in enumerate(classifier.class_names):
        other = fitted[place]
        rows.append(
            (
                label,
                int((sets.labels[:, place] == 1).sum()),
                int((sets.labels[:, place] < 0).sum()),
                shown(label, "auroc"),
                threshold_of(classifier, place),
                *(shown(label, name) for name in ("sensitivity", "specificity", "positive_predictive_value", "f1")),
                "" if other is None else stated_threshold(other.threshold) or other.threshold,
            )
        )
    where = next(
        (f"on {one.where}" for one in fitted if one is not None), "on no images, as the model gives decisions only"
    )
    return Panel(
        check=check,
        title="Labels",
        about=f"The other threshold is the one with the best balanced accuracy {where}.",
        head=(
            "label",
            "images with it",
            "unknown",
            "area (AUROC)",
            "threshold",
            "recall",
            "specificity",
            "precision",
            "F1",
            "other threshold",
        ),
        rows=tuple(rows),
    )


def _mistakes(known: PerImage, sets: LabelSets, names: Sequence[str]) -> list[dict[str, object]]:
    """Images with a wrong decision, those with most of them first: labels that were missed, and given wrongly."""
    missed, false = (sets.labels == 1) & (sets.decisions == 0), (sets.labels == 0) & (sets.decisions == 1)
    wrong = (missed | false).sum(1)
    order = np.argsort(-wrong, kind="stable")
    return [
        {
            "id": known.ids[row],
            "missed": [names[place] for place in np.flatnonzero(missed[row]).tolist()],
            "given_wrongly": [names[place] for place in np.flatnonzero(false[row]).tolist()],
        }
        for row in order[wrong[order] > 0].tolist()
    ]


def _notes(names: Sequence[str], judged: Sequence[int], sets: LabelSets) -> list[str]:
    notes = [
        "Labels: each label is judged as a decision of its own, and hypotheses of all labels count in the choice of "
        "findings. Harm is the share of all images that is lost: a label that one image in twenty has can cost 5 %."
    ]
    idle = [name for place, name in enumerate(names) if place not in judged]
    if idle:
        notes.append(f"Labels that too few images (or units) have, or lack, to be tested: {', '.join(idle)}.")
    unknown = int((sets.labels < 0).sum())
    if unknown:
        notes.append(f"{unknown} labels of images are unknown and count nowhere.")
    return notes
