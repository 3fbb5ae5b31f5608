"""The unchanged images: accuracy by class, and what is taken for what."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import NormalDist
from typing import ClassVar

import numpy as np
from pydantic import Field, field_validator

from snellen.auditing.class_order import OtherOrder, constant_answer
from snellen.auditing.costly_errors import COUNTED, CostlyErrors
from snellen.auditing.gaps import error_gap, gap_sight
from snellen.auditing.unanswered_classes import UnansweredClasses
from snellen.checks.check import Check, CheckFigure, CheckInput, CheckResult, Companion, Kept
from snellen.checks.hypothesis import Hypothesis
from snellen.checks.panels import Line, Panel, Point
from snellen.checks.per_image import PerImage, confident_mistakes
from snellen.core.classifier import Classifier
from snellen.core.errors import InputError
from snellen.core.finding import Finding
from snellen.core.images import ImageSet
from snellen.data.files.costs import load_costs
from snellen.metrics.classification import ConfusionCounts, confusion_pairs
from snellen.metrics.clustered import clustered_mean, clustered_share
from snellen.metrics.intervals import wilson
from snellen.metrics.stratified import stratified_interval


def training_curves(history: Sequence[Mapping[str, float]], *, check: str) -> list[Panel]:
    """Panels of losses, of shares such as accuracies and areas, and of other figures; none without two epochs.

    They are apart because they have scales of their own: a share lies between 0 and 1 in every epoch.

    Args:
        history: a row for each epoch: ``epoch``, ``train.loss``, ``val.NAME``; names of losses end in "loss".
        check: name of the check that shows them.

    >>> rows = [{"epoch": n, "step": n, "train.loss": 1 / n, "val.accuracy": 0.5} for n in (1, 2)]
    >>> [panel.title for panel in training_curves(rows, check="clean")]
    ['Loss during training', 'Shares during training']
    """
    if len(history) < 2:
        return []
    names = [name for name in history[-1] if name.startswith(("train.", "val."))]
    losses = [name for name in names if name.endswith("loss")]
    others = [name for name in names if name not in losses]
    shares = [name for name in others if all(0 <= point.y <= 1 for point in _points(history, name))]
    panels = []
    for title, chosen, unit in (
        ("Loss during training", losses, "mean loss"),
        ("Shares during training", shares, "share or area"),
        ("Other figures during training", [name for name in others if name not in shares], "figure"),
    ):
        if chosen:
            panels.append(
                Panel(
                    check=check,
                    title=title,
                    about="From the card of the artifact: train is what was fitted, val chose the epoch. Losses of "
                    "training are of augmented images, and so are no measure of accuracy.",
                    x_label="epoch",
                    y_label=unit,
                    lines=tuple(Line(name=name, points=_points(history, name)) for name in chosen),
                )
            )
    return panels


def _points(history: Sequence[Mapping[str, float]], name: str) -> tuple[Point, ...]:
    return tuple(Point(x=row["epoch"], y=row[name]) for row in history if name in row)


#: Rows of the table of confusions.
PAIRS = 12

#: Share of the way from guessing to a perfect balanced accuracy below which a classifier counts as guessing.
SIGHT = 0.1

#: Half the width of a normal 95 % interval, in standard errors.
TWO_SIDED = NormalDist().inv_cdf(0.975)


class Clean(Check):
    """Accuracy on the images as they are."""

    name: ClassVar[str] = "clean"
    summary: ClassVar[str] = "accuracy, the worst classes and confusions on the images as they are"
    one_label: ClassVar[str] = "the check labels gives its figures, label by label"
    reads: ClassVar[frozenset[Kept]] = frozenset({"scores"})

    examples: int = Field(5, ge=0, description="pictures for each finding")
    costs: tuple[tuple[float, ...], ...] | None = Field(
        None, description="what each decision (column) on each true class (row) costs, in the classes' order"
    )

    @field_validator("costs")
    @classmethod
    def _usable(cls, costs: tuple[tuple[float, ...], ...] | None) -> tuple[tuple[float, ...], ...] | None:
        return None if costs is None else load_costs(costs, [str(number) for number in range(len(costs))])

    def missing(self, classifier: Classifier, images: ImageSet, companions: frozenset[Companion]) -> str | None:
        """Why the check cannot run, or None when it can.

        Raises:
            InputError: costs of another number of classes.
        """
        count = len(classifier.class_names)
        if self.costs is not None and len(self.costs) != count:
            raise InputError(
                f"the costs are of {len(self.costs)} classes, and {classifier.name} has {count}; give a row and a "
                f"column for each"
            )
        return super().missing(classifier, images, companions)

    def figure_names(self) -> frozenset[str]:
        """Known before the audit runs; see :meth:`Check.figure_names`."""
        return self._names("accuracy", "balanced_accuracy", "cost", "cost_saved")

    def cost(self) -> float:
        """Clean scores are computed for every audit anyway."""
        return 0.0

    def conclude(self, reading: CheckInput) -> CheckResult:
        """Hardly better than guessing; classes that are worse than the rest, or never answered."""
        known = reading.images.select(reading.images.labelled)
        curves = training_curves(reading.classifier.history, check=self.name)
        if not len(known):
            return CheckResult(panels=curves)
        order = OtherOrder.of(known, len(reading.names))
        costly = None if self.costs is None else CostlyErrors.of(known, self.costs, reading)
        weighed = costly is not None and order is None
        unanswered = UnansweredClasses.of(known) if order is None and constant_answer(known) is None else None
        return CheckResult(
            metrics={**_metrics(known, len(reading.names)), **(costly.metrics() if costly is not None else {})},
            hypotheses=(
                # In another order no class is what its name says, so that single ones get no finding.
                [self._guessing(known, reading.names), *self._classes(known, reading.names)]
                if order is None
                else [order.hypothesis(reading.names)]
            )
            + ([unanswered.hypothesis(known, reading.names, self.examples)] if unanswered is not None else [])
            + (costly.hypotheses(reading.names, self.examples) if costly is not None and weighed else []),
            panels=[
                *_confusions(known, reading.names),
                *([costly.panel(reading.names)] if costly is not None else []),
                *curves,
            ],
            notes=[COUNTED] * (costly is not None),
            sight=[
                gap_sight(
                    "class",
                    {reading.names[label]: known.labels == label for label in known.classes_present()},
                    known,
                )
            ]
            * (order is None),
        )

    def _guessing(self, known: PerImage, names: tuple[str, ...]) -> Hypothesis:
        """That the classifier sees: of what balanced accuracy can be above guessing, it has at least a tenth."""
        guessing = 1 / len(names)
        bar = guessing + SIGHT * (1 - guessing)
        balanced, _, high = stratified_interval(known.correct.astype(np.float64), known.labels, known.units)
        # Where nothing is known of the spread, the interval is infinite, and the p value ½.
        p_value = NormalDist().cdf((balanced - bar) / ((high - balanced) / TWO_SIDED))
        always = constant_answer(known)
        title = f"Balanced accuracy of {balanced:.1%} is hardly above guessing ({guessing:.1%})"
        if always is not None:
            title = f"The classifier answers {names[always]} for every image; check its preprocessing and its weights"

        def finding(harm: float) -> Finding:
            return Finding(
                kind="accuracy",
                harm=harm,
                p_value=p_value,
                title=title,
                facts={
                    "balanced_accuracy": balanced,
                    "guessing": guessing,
                    "accuracy": float(known.correct.mean()),
                    "mostly_answered": names[int(np.bincount(known.predictions).argmax())],
                },
                examples=confident_mistakes(known, names, self.examples),
            )

        weighed = known.weighed
        if weighed is not None:
            mean = clustered_mean(weighed, known.units, pseudo_units=1.0)
            return Hypothesis(p_value, lambda level: max(mean.lower(level), 0.0), finding)
        return Hypothesis(
            p_value, lambda level: clustered_share(~known.correct, known.units, 2 * level - 1).low, finding
        )

    def _classes(self, known: PerImage, names: tuple[str, ...]) -> list[Hypothesis]:
        """One hypothesis for each class: it is no worse than the others."""
        return [
            hypothesis
            for label in known.classes_present()
            if (hypothesis := self._class(label, known, names)) is not None
        ]

    def _class(self, label: int, known: PerImage, names: tuple[str, ...]) -> Hypothesis | None:
        member = known.labels == label
        gap = error_gap(~known.correct, member, known.units, known.weighed)
        if gap is None:
            return None

        def finding(harm: float) -> Finding:
            own = known.select(member)
            taken = np.bincount(own.predictions[~own.correct], minlength=len(names))
            return Finding(
                kind="worst_class",
                subject=names[label],
                harm=harm,
                p_value=gap.p_value,
                title=(
                    f"{names[label]} is right in {1 - gap.inside:.0%} of its images, the other classes in "
                    f"{1 - gap.outside:.0%}"
                ),
                facts={
                    "class": names[label],
                    "images": gap.inside_n,
                    "accuracy": 1 - gap.inside,
                    "accuracy_elsewhere": 1 - gap.outside,
                    **gap.costs,
                    "mostly_taken_for": names[int(taken.argmax())],
                    "times": int(taken.max()),
                },
                examples=confident_mistakes(own, names, self.examples),
            )

        return Hypothesis(gap.p_value, gap.harm, finding)


def _metrics(known: PerImage, classes: int) -> dict[str, CheckFigure]:
    n = len(known)
    low, high = clustered_share(known.correct, known.units)
    figures = {"clean.accuracy": CheckFigure(value=float(known.correct.mean()), low=low, high=high, n=n)}
    if len(known.classes_present()) > 1:
        balanced = ConfusionCounts.of(known.labels, known.predictions, classes).balanced_accuracy
        _, low, high = stratified_interval(known.correct.astype(np.float64), known.labels, known.units)
        low, high = max(low, 0.0), min(high, 1.0)
        figures["clean.balanced_accuracy"] = CheckFigure(value=balanced, low=low, high=high, n=n)
    return figures


def _confusions(known: PerImage, names: tuple[str, ...]) -> list[Panel]:
    counts = ConfusionCounts.of(known.labels, known.predictions, len(names))
    pairs = confusion_pairs(counts, PAIRS)
    if not pairs:
        return []
    return [
        Panel(
            check="clean",
            title="What is taken for what",
            about="The most frequent confusions; the share is of the images of the true class, with its 95 % interval.",
            head=("true class", "taken for", "images", "share", "from", "to"),
            rows=tuple(
                (
                    names[pair.label],
                    names[pair.prediction],
                    pair.times,
                    round(pair.share, 4),
                    *(round(end, 4) for end in wilson(pair.times, int(counts.support[pair.label]))),
                )
                for pair in pairs
            ),
        )
    ]
