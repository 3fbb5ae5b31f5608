"""Bags such as slides of tiles: is the decision on the bag right, and for the right images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import numpy as np
from pydantic import Field, ValidationError

from snellen.auditing.bag_hypotheses import bag_hypotheses
from snellen.auditing.bag_table import (
    BagTable,
    WholeBag,
    bag_figures,
    bag_rows,
    contradictions,
    instance_figures,
    whole_bags,
)
from snellen.auditing.heat_map import heat_panel
from snellen.checks.check import Check, CheckInput, CheckResult, Companion, Kept, LackedSetting
from snellen.checks.panels import Panel
from snellen.checks.per_image import BAG_LABEL, PerImage, rows_of
from snellen.core.classifier import Classifier
from snellen.core.errors import InputError, unknown_name
from snellen.core.images import ImageSet
from snellen.core.listed_names import listed_names
from snellen.core.method import Need
from snellen.core.refused_values import refused_values
from snellen.metrics.bag_pooling import Pooling

#: Bags that a note names; all are in the list.
NAMED = 5

UNSAID = (
    "Bags: the model does not say how it decides about them. One that decides in another way than by pooling "
    "probabilities of images, by attention for instance, is not judged by its own decision here."
)


class BagDecisions(Check):
    """Pool the scores of each bag's images, judge the decision on the bag, and show where in it the evidence lies.

    What is independent is the patient (column ``unit_id``), or the bag where none is known; never the image.
    """

    name: ClassVar[str] = "bags"
    summary: ClassVar[str] = "bags such as slides of tiles: missed ones, sites served worse, evidence for the decision"
    one_label: ClassVar[str] = "it decides a bag by the one positive class of its images"
    needs: ClassVar[frozenset[Need]] = frozenset({"scores", "bags"})
    reads: ClassVar[frozenset[Kept]] = frozenset({"scores"})

    pooling: Pooling | None = Field(
        None,
        description="how the probabilities of a bag's images become its score; by default the model's own, or mean",
    )
    threshold: float | None = Field(
        None, ge=0, le=1, description="score from which on a bag is positive; by default the model's own, or 0.5"
    )
    positive: str | None = Field(None, description="the positive class, against all others; by default the last of two")
    examples: int = Field(5, ge=0, description="pictures for each finding")
    shown: int = Field(8, ge=0, description="bags whose heat maps are drawn, wrong ones first")

    def missing(self, classifier: Classifier, images: ImageSet, companions: frozenset[Companion]) -> str | None:
        """Why the check cannot run, or None when it can.

        Raises:
            InputError: the positive class is none of the classifier's; raised before anything is computed.
        """
        if self.positive is not None and self.positive not in classifier.class_names:
            raise unknown_name("class", self.positive, classifier.class_names)
        lacking = super().missing(classifier, images, companions)
        if lacking is None and all(label is None for label in images.column(BAG_LABEL)):
            return f"needs labels of bags (column bag_label), and {images.name} has none"
        if lacking is None and self.positive is None and len(classifier.class_names) != 2:
            count = len(classifier.class_names)
            return LackedSetting(
                f"needs to know which of {count} classes is the positive one: --set bags.positive=NAME", "positive"
            )
        return lacking

    def resolved(self, classifier: Classifier) -> BagDecisions:
        """Pooling, threshold and positive class filled in: what the model names, else mean, 0.5 and the last of two.

        The threshold that a model names goes with its pooling: with another one, it is 0.5.

        Raises:
            InputError: what the model names is none.
        """
        own = classifier.bag_decision
        named: dict[str, object] = {"pooling": self.pooling or own.get("pooling", "mean")}
        fits = named["pooling"] == own.get("pooling")
        named["threshold"] = (own.get("threshold", 0.5) if fits else 0.5) if self.threshold is None else self.threshold
        last = classifier.class_names[-1] if len(classifier.class_names) == 2 else None
        try:
            return BagDecisions.model_validate({**self.model_dump(), **named, "positive": self.positive or last})
        except ValidationError as error:
            raise InputError(
                f"{classifier.name} decides about bags in a way that is not known ({refused_values(error)})"
            ) from error

    def figure_names(self) -> frozenset[str]:
        """Known before the audit runs; see :meth:`Check.figure_names`."""
        decisions = ("auroc", "accuracy", "sensitivity", "specificity")
        return self._names(*decisions, "instance_auroc", "positives_found", "false_in_negative_bags")

    def cost(self) -> float:
        """Nothing but the clean scores is needed."""
        return 0.0

    def conclude(self, reading: CheckInput) -> CheckResult:
        """Figures of bags and of their images, what is wrong with either, every bag by name, and heat maps."""
        rule, names, known = self.resolved(reading.classifier), reading.names, reading.images
        if known.bag_labels is None or rule.pooling is None or rule.threshold is None or rule.positive is None:
            return CheckResult(skipped="no image that could be used is in a bag")
        place = names.index(rule.positive)
        bags = BagTable.of(known, positive=place, pooling=rule.pooling, threshold=rule.threshold)
        whole = _whole(bags, reading)
        figures = {**bag_figures(bags), **instance_figures(bags, known)}
        contradicted = contradictions(bags, known, whole, names, self.examples)
        shown = self.shown if reading.pictured else 0
        heat, pictures = heat_panel(bags, known, reading.audited, names, shown)
        return CheckResult(
            metrics={f"{self.name}.{name}": figure for name, figure in figures.items()},
            hypotheses=bag_hypotheses(bags, known, names, self.examples),
            findings=[] if contradicted is None else [contradicted],
            panels=[*heat, *_by_group(bags)],
            lists={self.name: bag_rows(bags, known, whole, names)},
            notes=[
                *_notes(bags, known, whole, names, rule.pooling),
                *([] if reading.classifier.bag_decision else [UNSAID]),
                *_unseen(bags, whole),
            ],
            pictures=pictures,
        )


def _whole(bags: BagTable, reading: CheckInput) -> dict[str, WholeBag]:
    """The bags of the image set; without one at hand, those that are known are all."""
    if reading.audited is not None:
        return whole_bags(reading.audited)
    given = zip(bags.ids, bags.labels.tolist(), bags.units, bags.groups, bags.members, strict=True)
    return {
        bag: WholeBag(len(rows), None if label < 0 else label, unit, group) for bag, label, unit, group, rows in given
    }


def _notes(
    bags: BagTable, known: PerImage, whole: Mapping[str, WholeBag], names: tuple[str, ...], pooling: str
) -> list[str]:
    name = names[bags.positive]
    units = len(np.unique(bags.unit_codes))
    notes = [
        f"Bags: the score of a bag is the {pooling} of its images' probabilities of {name}; from "
        f"{bags.threshold:.4g} on it is called {name}. Of figures that begin with bags., auroc, accuracy, sensitivity "
        f"and specificity count bags, the others images; {len(bags)} bags are of {units} independent units."
    ]
    if all(unit is None for unit in bags.units):
        notes.append(
            "Bags: no units are known (column unit_id: the patient), so bags count as independent here. Figures of "
            "other checks count images of one bag as independent: their intervals are too narrow."
        )
    classes = set(bags.truth[bags.labelled].tolist())
    if len(classes) == 1:
        only = name if classes == {True} else f"not {name}"
        notes.append(f"Bags: all {int(bags.labelled.sum())} labelled bags are {only}, so that no area is measured.")
    unknown = [bag for bag, about in whole.items() if about.label is None]
    if unknown:
        notes.append(f"Bags: {_listed(unknown)} {_have(unknown)} no label, and count in no figure of bags.")
    stray = sum(bag is None for bag in known.bags)
    if stray:
        notes.append(f"Bags: {stray} images are in no bag, and count in no figure of bags.")
    return notes


def _unseen(bags: BagTable, whole: Mapping[str, WholeBag]) -> list[str]:
    """Bags with images that could not be used, some or all."""
    used = dict(zip(bags.ids, map(len, bags.members), strict=True))
    lost = [bag for bag in whole if bag not in used]
    partly = [bag for bag, about in whole.items() if 0 < used.get(bag, 0) < about.images]
    notes = []
    if lost:
        what = "it has no score and counts" if len(lost) == 1 else "they have no score and count"
        notes.append(f"Bags: of {_listed(lost)} no image could be used: {what} in no figure; rejected.json says why.")
    if partly:
        notes.append(
            f"Bags: {_listed(partly)} {_have(partly)} images that could not be used; the score is of the others."
        )
    return notes


def _by_group(bags: BagTable) -> list[Panel]:
    """Sensitivity and specificity of each group in counts: small numbers are to be seen as such."""
    members = [one for groups in bags.groupings for one in sorted(rows_of(groups).items())]
    rows = []
    for name, places in members:
        labelled = places[bags.labelled[places]]
        positive, negative = labelled[bags.truth[labelled]], labelled[~bags.truth[labelled]]
        rows.append(
            (
                name,
                len(labelled),
                f"{int(bags.correct[positive].sum())} of {len(positive)}",
                f"{int(bags.correct[negative].sum())} of {len(negative)}",
            )
        )
    if not rows:
        return []
    return [
        Panel(
            check=BagDecisions.name,
            title="Bags by group",
            about="How many positive bags of each group are found, and how many of the others are not taken for such.",
            head=("group", "bags", "positive found", "others right"),
            rows=tuple(rows),
        )
    ]


def _listed(bags: Sequence[str]) -> str:
    """How many, and the first names.

    >>> _listed(["a", "b"]), _listed(list("abcdefg"))
    ('2 bags (a, b)', '7 bags (a, b, c, d, e and 2 more)')
    """
    return f"{len(bags)} {'bag' if len(bags) == 1 else 'bags'} ({listed_names(bags, NAMED)})"


def _have(bags: Sequence[str]) -> str:
    return "has" if len(bags) == 1 else "have"
