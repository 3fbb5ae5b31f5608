"""Several groups of each image: errors by every factor and pair, what is missing, and labels that follow from them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from snellen.auditing.factor_cells import FEWEST, JUDGED_DROP, JudgedCell, judged_cells, pair_cells, pairs_of
from snellen.auditing.factor_cells import single_cells as singles_of
from snellen.checks.check import CheckFigure, CheckInput, CheckResult
from snellen.checks.hypothesis import AREA_HARM, FALSE_DISCOVERY_RATE, Hypothesis
from snellen.checks.panels import Panel
from snellen.checks.per_image import PerImage, confident_mistakes, rows_of
from snellen.core.finding import Finding
from snellen.metrics.clustered import clustered_share
from snellen.metrics.inspection.metadata import MetadataPrediction, metadata_prediction

#: Rows of a table in the report; ``lists/groups.csv`` has all of them.
SHOWN = 40

#: Area by which a pair must predict better than the best group alone to be named in its place.
MORE_TOGETHER = 0.03

#: Combinations that a title names.
NAMED = 3


@dataclass(frozen=True, eq=False)
class FactorGaps:
    """Errors by factors of labelled images.

    Attributes:
        known: labelled images.
        singles: values of each factor.
        pairs: of values of two factors.
        names: of the classes.
        examples: pictures for each finding.
    """

    known: PerImage
    singles: Sequence[JudgedCell]
    pairs: Sequence[JudgedCell]
    names: tuple[str, ...]
    examples: int

    @classmethod
    def of(cls, known: PerImage, names: tuple[str, ...], examples: int) -> FactorGaps:
        """Compare each value with the others, and each pair with either of its values."""
        single = singles_of(known)
        pairs = pair_cells(single)
        judged = judged_cells(known, [*single, *pairs], FALSE_DISCOVERY_RATE)
        return cls(known, judged[: len(single)], judged[len(single) :], names, examples)

    @property
    def cells(self) -> list[JudgedCell]:
        """All of them."""
        return [*self.singles, *self.pairs]

    def hypotheses(self) -> list[Hypothesis]:
        """One for each cell that can be compared."""
        return [self._hypothesis(one) for one in self.cells if one.gaps]

    def metrics(self) -> dict[str, CheckFigure]:
        """Accuracy of the worst value and of the worst pair that is tested, and the share of the cells judged."""
        found = {}
        for name, cells in (("worst_accuracy", self.singles), ("worst_pair_accuracy", self.pairs)):
            figures = [_accuracy(self.known, one) for one in cells if one.units and (one.gaps or cells is self.singles)]
            if figures:
                found[f"group_gap.{name}"] = min(figures, key=lambda figure: figure.value)
        if self.cells:
            share = self._judged / len(self.cells)
            found["group_gap.judged"] = CheckFigure(value=share, low=share, high=share, n=len(self.known))
        return found

    @property
    def _judged(self) -> int:
        return sum(one.verdict in ("judged", "worse") for one in self.cells)

    def _hypothesis(self, one: JudgedCell) -> Hypothesis:
        def finding(harm: float) -> Finding:
            facts: dict[str, float | int | str] = {
                "group": one.cell.subject,
                "images": one.gaps[0].inside_n,
                "units": one.units,
                "accuracy": 1 - one.gaps[0].inside,
            }
            own = f"Group {one.cell.subject} is right in {1 - one.gaps[0].inside:.0%} of its images"
            if len(one.gaps) == 1:
                facts["accuracy_elsewhere"] = 1 - one.gaps[0].outside
                facts |= one.gaps[0].costs
                title = f"{own}, others in {1 - one.gaps[0].outside:.0%}"
                worst = self._worst_within(one)
                if worst is not None:
                    (name, value), rest = worst
                    facts[f"accuracy_without_{name}={value}"] = rest
                    title += f"; without {name}={value}, it is in {rest:.0%}"
            else:
                parts = []
                for (name, value), gap in zip(one.cell.levels, one.gaps, strict=True):
                    facts[f"accuracy_of_other_{name}={value}"] = 1 - gap.outside
                    parts.append(f"other images of {name}={value} in {1 - gap.outside:.0%}")
                title = f"{own}, {' and '.join(parts)}"
            return Finding(
                kind="group_gap",
                subject=one.cell.subject,
                harm=harm,
                p_value=one.p_value,
                title=title,
                facts=facts,
                examples=confident_mistakes(self.known.select(one.cell.member), self.names, self.examples),
            )

        return Hypothesis(one.p_value, lambda level: one.harm(level, len(self.known)), finding)

    def _worst_within(self, one: JudgedCell) -> tuple[tuple[str, str], float] | None:
        """The other group that most of the gap is shared with, and accuracy without it; None where there is none."""
        within = [
            pair for pair in self.pairs if pair.gaps and set(one.cell.levels) < set(pair.cell.levels)
            and pair.p_value < FALSE_DISCOVERY_RATE / max(len(self.pairs), 1)
        ]  # fmt: skip
        if not within:
            return None
        worst = min(within, key=lambda pair: pair.p_value)
        level = next(level for level in worst.cell.levels if level not in one.cell.levels)
        rest = one.cell.member & ~worst.cell.member
        return level, float(self.known.correct[rest].mean())

    def missing(self) -> list[Finding]:
        """What cannot be judged, counted: one finding."""
        empty = [one.cell.subject for one in self.cells if one.verdict == "no images"]
        few = [one.cell.subject for one in self.cells if one.verdict == "too few to judge"]
        mixed = [one.cell.subject for one in self.cells if one.verdict.startswith("not separable")]
        if not empty and not few and not mixed:
            return []
        parts = [
            f"{len(found)} {words}: {_listed(found)}"
            for found, words in (
                (empty, "without images"),
                (few, "too few to judge"),
                (mixed, "that cannot be separated from another group"),
            )
            if found
        ]
        return [
            Finding(
                kind="coverage",
                subject="groups",
                harm=0.0,
                title=f"Of {len(self.cells)} groups and pairs of groups, {'; '.join(parts)}",
                facts={
                    "groups_and_pairs": len(self.cells),
                    "without_images": len(empty),
                    "too_few": len(few),
                    "not_separable": len(mixed),
                    "judged": self._judged,
                },
            )
        ]

    def panels(self) -> list[Panel]:
        """Accuracy by group and by pair, lowest first, and what is missing."""
        found = []
        for title, cells in (("Accuracy by group", self.singles), ("Accuracy by pair of groups", self.pairs)):
            ranked = sorted((_row(self.known, one) for one in cells if one.units), key=lambda row: row[4])
            alone = self.known.units is None
            head = ("group", "judged", "images", "units", "accuracy", "from", "to", "drop")
            rows = [row[:3] + row[4:] if alone else row for row in ranked]
            if rows:
                found.append(
                    Panel(
                        check="group_gap",
                        title=title,
                        about=f"With 95 % intervals over independent units. Drop: points below the others that would "
                        f"be found in nine of ten cases. More than {100 * JUDGED_DROP:.0f} are too few images to "
                        f"judge: such a group is not known to be right."
                        + (f" All rows are in lists/groups.csv; here are {SHOWN}." if len(rows) > SHOWN else ""),
                        head=head[:3] + head[4:] if alone else head,
                        rows=tuple(rows[:SHOWN]),
                    )
                )
        return found

    def table(self) -> list[dict[str, object]]:
        """Every cell, those without images too."""
        found = []
        for one in self.cells:
            figure = _accuracy(self.known, one) if one.units else None
            found.append(
                {
                    "group": one.cell.subject,
                    "images": int(one.cell.member.sum()),
                    "units": one.units,
                    "accuracy": "" if figure is None else round(figure.value, 4),
                    "from": "" if figure is None else round(figure.low, 4),
                    "to": "" if figure is None else round(figure.high, 4),
                    "p": f"{one.p_value:.2g}" if one.gaps else "",
                    "drop_that_would_be_found": "" if one.drop is None else round(one.drop, 4),
                    "verdict": one.verdict,
                }
            )
        return found

    def sight(self, alpha: float) -> str | None:
        """What would have been found in the largest and the smallest group that is tested."""
        tested = [one.at(alpha) for one in self.singles]
        seen = sorted((one for one in tested if one.drop is not None), key=lambda one: -one.units)
        if not seen:
            return None
        parts = [
            f"{100 * (one.drop or 0):.0f} points ({one.cell.subject}, {one.units} "
            f"{'images' if self.known.units is None else 'units'})"
            for one in dict.fromkeys((seen[0], seen[-1]))
        ]
        return f"a group whose accuracy lies below that of the others by {', or for the smallest '.join(parts)}"


def conclude_factors(reading: CheckInput, examples: int) -> CheckResult:
    """Everything that several groups of each image show."""
    known = reading.images.select(reading.images.labelled)
    if not any(value is not None for values in known.factors.values() for value in values):
        return CheckResult(skipped="no image with a label has a value of any group")
    gaps = FactorGaps.of(known, reading.names, examples)
    metrics, hypotheses, panels = gaps.metrics(), gaps.hypotheses(), gaps.panels()
    predicted = metadata_prediction(known.labels, pairs_of(known), known.units, seed=reading.rng.seed)
    notes = [
        f"Groups are judged by {', '.join(known.factors)} and by pairs of them. A pair must be worse than the other "
        f"images of each of its two groups, and have {FEWEST} independent units, as must these. What has fewer is "
        f"named and not judged."
    ]
    if predicted is not None:
        low, high = predicted.interval()
        metrics["group_gap.label_auroc"] = CheckFigure(
            value=predicted.auroc, low=min(low, predicted.auroc), high=max(high, predicted.auroc), n=len(known)
        )
        hypotheses.append(_shortcut(predicted, known, reading.names))
        panels.append(_prediction_panel(predicted))
    return CheckResult(
        metrics=metrics,
        hypotheses=hypotheses,
        findings=gaps.missing(),
        panels=panels,
        tables={"groups": gaps.table()},
        notes=notes,
        sight=[gaps.sight],
    )


def _shortcut(found: MetadataPrediction, known: PerImage, names: tuple[str, ...]) -> Hypothesis:
    single = {name: area for name, area in found.each.items() if name in known.factors}
    best = max(single, key=lambda name: single[name]) if single else ""
    together = max(found.each, key=lambda name: found.each[name])
    if not single or found.each[together] > single[best] + MORE_TOGETHER:
        best = together
    telling = _telling(known, best, names)

    def finding(harm: float) -> Finding:
        low, high = found.interval()
        return Finding(
            kind="metadata_shortcut",
            harm=harm,
            p_value=found.p_value,
            title=(
                f"Labels follow from {best} alone: without a look at the image, it separates the classes with an area "
                f"of {found.each[best]:.2f} (0.5 is chance){telling}"
            ),
            facts={
                "strongest": best,
                "auroc_of_strongest": found.each[best],
                "auroc_of_all": found.auroc,
                "auroc_of_all_low": low,
                "auroc_of_all_high": high,
            },
        )

    def harm(confidence: float) -> float:
        low = found.interval(2 * confidence - 1).low
        return next(harm for bound, harm in AREA_HARM if low >= bound)

    return Hypothesis(found.p_value, harm, finding)


def _telling(known: PerImage, factor: str, names: tuple[str, ...]) -> str:
    """The value and class that say most, in words."""
    values = pairs_of(known)[factor]
    best, words, n = 0.0, "", len(known)
    every = np.bincount(known.labels, minlength=len(names))
    for value, rows in sorted(rows_of(values).items()):
        if len(rows) == n:
            continue
        own = np.bincount(known.labels[rows], minlength=len(names))
        inside, outside = own / len(rows), (every - own) / (n - len(rows))
        weights = np.abs(inside - outside) * (min(len(rows), n - len(rows)) / n) ** 0.5
        label = int(weights.argmax())
        if weights[label] > best:
            best = float(weights[label])
            words = f"; {inside[label]:.0%} of {factor} {value} are {names[label]}, {outside[label]:.0%} of the others"
    return words


def _prediction_panel(found: MetadataPrediction) -> Panel:
    rows = sorted(found.each.items(), key=lambda pair: -pair[1])
    return Panel(
        check="group_gap",
        title="Do labels follow from the groups alone?",
        about=f"Area under the ROC curve of a prediction of the label without the image, each from other units; 0.5 is "
        f"chance. All together {found.auroc:.2f}; p = {found.p_value:.2g} by exchanging the groups of whole units. A "
        f"model can learn such a shortcut in place of what the images show.",
        head=("group", "area"),
        rows=tuple((name, round(area, 3)) for name, area in rows[:SHOWN]),
    )


def _row(known: PerImage, one: JudgedCell) -> tuple[str, str, int, int, float, float, float, str | int]:
    figure = _accuracy(known, one)
    verdict = {"judged": "yes", "too few to judge": "too few"}.get(one.verdict, one.verdict.partition(":")[0])
    return (
        one.cell.subject,
        verdict,
        figure.n,
        one.units,
        round(figure.value, 4),
        round(figure.low, 4),
        round(figure.high, 4),
        "–" if one.drop is None else round(100 * one.drop),
    )


def _accuracy(known: PerImage, one: JudgedCell) -> CheckFigure:
    right = known.correct[one.cell.member]
    low, high = clustered_share(right, known.units_of(one.cell.member))
    return CheckFigure(value=float(right.mean()), low=low, high=high, n=len(right))


def _listed(subjects: Sequence[str]) -> str:
    shown = " | ".join(subjects[:NAMED])
    return f"{shown} …" if len(subjects) > NAMED else shown
