"""What may be wrong with a segmenter: guessing, a class or a group served worse, overlap lost under corruptions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from snellen.auditing.overlap_rows import OverlapRows, compared_with
from snellen.checks.check import CheckFigure
from snellen.checks.damage_families import readable
from snellen.checks.hypothesis import Hypothesis
from snellen.checks.panels import Line, Point
from snellen.checks.per_image import rows_of
from snellen.core.errors import InputError
from snellen.core.finding import Finding, FindingExample
from snellen.metrics.incomplete_beta import student_t_probability, student_t_quantile
from snellen.metrics.segmentation import weighted_overlap
from snellen.metrics.sweep import setting_name

#: With fewer independent units a figure has no interval that can be trusted, and nothing is tested.
FEWEST = 20

#: Share of the way from one answer for all pixels to a perfect overlap below which a model counts as guessing.
SIGHT = 0.1

#: What a report says under a finding about a segmenter.
TREATMENT = (
    "nothing here changes a trained segmenter: train it anew with more such images (snellen train context-upsampling "
    "trains one from images with masks)"
)


class Tested(NamedTuple):
    """Figures by the last parts of their names, and what was tested with them."""

    figures: dict[str, CheckFigure]
    hypotheses: list[Hypothesis]


def guessing(rows: OverlapRows, names: tuple[str, ...], *, examples: int) -> Hypothesis:
    """That the model sees: of what mIoU can be above one answer for all pixels, it has at least a tenth."""
    total = rows.parts.sum(0)
    present = total[1] > 0
    constant = float(total[1].max() / total[1].sum() / present.sum())
    bar = constant + SIGHT * (1 - constant)
    found = rows.sample(weighted_overlap(rows.parts), rows.everywhere)
    return _lost(
        bar - found.value,
        found.standard_error,
        found.units,
        kind="accuracy",
        title=f"mIoU of {found.value:.2f} is hardly above that of one answer for all pixels ({constant:.2f})",
        facts={"miou": found.value, "one_answer": constant, "mostly_decided": names[int(total[2].argmax())]},
        examples=_worst(rows, rows.everywhere, examples),
    )


def of_classes(rows: OverlapRows, names: tuple[str, ...], *, examples: int) -> Tested:
    """One hypothesis for each class: its overlap is no smaller than the mean of the others, without background."""
    total, figures, found = rows.parts.sum(0), dict[str, CheckFigure](), list[Hypothesis]()
    for label in np.flatnonzero(total[1] > 0).tolist():
        name, own, seen = names[label], weighted_overlap(rows.parts, label), rows.parts[:, 1, label] > 0
        try:
            figure = rows.figure(own, rows.everywhere)
            lost = rows.paired(weighted_overlap(rows.parts[:, :, compared_with(label, names)]), own, rows.everywhere)
        except InputError:
            continue  # so few images show the class, or the others, that most resamples hold none
        figures[f"class.{name}.iou"] = figure
        found.append(
            _lost(
                lost.value,
                lost.standard_error,
                lost.units,
                share=float(total[1, label] / total[1].sum()),
                kind="worst_class",
                subject=name,
                title=f"{name} has an overlap of {figure.value:.2f}, {lost.value:.2f} less than the mean of the other "
                f"classes",
                facts={"class": name, "images": int(seen.sum()), "lost": lost.value},
                examples=_worst(rows, seen, examples),
            )
        )
    return Tested(figures, found)


def of_groups(rows: OverlapRows, *, examples: int) -> Tested:
    """One hypothesis for each group: its mIoU is no smaller than that of the other images."""
    figures, found = dict[str, CheckFigure](), list[Hypothesis]()
    for group, members in [one for groups in rows.groupings for one in rows_of(groups).items()]:
        inside = np.isin(np.arange(len(rows.ids)), members)
        if min(rows.units_in(inside), rows.units_in(~inside)) < FEWEST:
            continue
        own, others = (rows.sample(weighted_overlap(rows.parts[held]), held) for held in (inside, ~inside))
        figures[f"group.{group}.miou"] = rows.figure(weighted_overlap(rows.parts[inside]), inside)
        lost = others.value - own.value
        found.append(
            _lost(
                lost,
                float(np.hypot(own.standard_error, others.standard_error)),
                min(own.units, others.units),
                share=float(inside.mean()),
                kind="group_gap",
                subject=group,
                title=f"Group {group} has a mIoU of {own.value:.2f}, the others {others.value:.2f}",
                facts={"group": group, "images": int(inside.sum()), "lost": lost},
                examples=_worst(rows, inside, examples),
            )
        )
    return Tested(figures, found)


def of_corruptions(rows: OverlapRows, kinds: Sequence[str], severities: Sequence[float]) -> tuple[Tested, list[Line]]:
    """One hypothesis for each kind: it costs no mIoU on average over the severities; and the curve of each."""
    figures, found, lines = dict[str, CheckFigure](), list[Hypothesis](), list[Line]()
    for kind in kinds:
        measured = [rows.at(setting_name(kind, severity)) for severity in sorted(severities)]
        held = np.logical_and.reduce([known for known, _ in measured])
        if rows.units_in(held) < FEWEST:
            continue
        before = weighted_overlap(rows.parts[held])
        after = [weighted_overlap(parts[held]) for _, parts in measured]

        def mean(weights: NDArray[np.float64], after: list = after) -> float:
            return float(np.mean([statistic(weights) for statistic in after]))

        points = [Point(x=0, y=before(np.ones(int(held.sum()))))]
        for severity, statistic in zip(sorted(severities), after, strict=True):
            figure = figures[f"corruption.{kind}.{severity:g}.miou"] = rows.figure(statistic, held)
            points.append(Point(x=severity, y=figure.value, low=figure.low, high=figure.high))
        lines.append(Line(name=kind, points=tuple(points)))
        lost = rows.paired(before, mean, held)
        found.append(
            _lost(
                lost.value,
                lost.standard_error,
                lost.units,
                kind="corruption",
                subject=kind,
                title=f"{readable(kind)} costs {100 * lost.value:.1f} points of mIoU on average over the severities",
                facts={"corruption": kind, "images": int(held.sum()), "lost": lost.value},
            )
        )
    return Tested(figures, found), lines


def under_attack(rows: OverlapRows, attacks: Sequence[tuple[str, str]]) -> tuple[dict[str, CheckFigure], list[Finding]]:
    """What attacks leave: findings without harm, because nobody declared such a threat.

    Args:
        rows: of the audit.
        attacks: the setting of each, and its words.
    """
    figures, found = dict[str, CheckFigure](), list[Finding]()
    for setting, words in attacks:
        held, parts = rows.at(setting)
        if rows.units_in(held) < FEWEST:
            continue
        before, after = weighted_overlap(rows.parts[held]), weighted_overlap(parts[held])
        left = figures[f"attack.{setting}.miou"] = rows.figure(after, held)
        if rows.paired(before, after, held).bca().low > 0:
            clean = before(np.ones(int(held.sum())))
            found.append(
                Finding(
                    kind="adversarial",
                    subject=setting,
                    harm=0.0,
                    title=f"{words} leaves a mIoU of {left.value:.2f}; clean it is {clean:.2f}",
                    facts={"images": int(held.sum()), "miou": left.value, "clean_miou": clean},
                    treatments=("train on attacked images: snellen train context-upsampling --adversarial-steps 3",),
                )
            )
    return figures, found


def _worst(rows: OverlapRows, chosen: NDArray[np.bool_], count: int) -> tuple[FindingExample, ...]:
    """Images with the fewest right pixels."""
    order = np.argsort(rows.right, kind="stable")
    return tuple(
        FindingExample(
            example_id=rows.ids[row],
            caption=f"{rows.right[row]:.0%} of the pixels are right; wrong ones are red in the second picture",
        )
        for row in order[chosen[order]][:count].tolist()
    )


def _lost(
    value: float,
    error: float,
    units: int,
    *,
    kind: str,
    title: str,
    facts: dict[str, float | int | str],
    subject: str = "",
    share: float = 1.0,
    examples: tuple[FindingExample, ...] = (),
) -> Hypothesis:
    """That a loss of mIoU is zero or less, by Student's t with the bootstrap's standard error.

    Args:
        value: the loss.
        error: its standard error.
        units: that it is of.
        kind: of the finding, as all that follows but ``share``.
        title: one sentence.
        facts: the figures behind it.
        subject: what it is about.
        share: of the data that it concerns.
        examples: images that show it.
    """
    spread, freedom = max(error, 1e-9), max(units - 1, 1)
    p_value = student_t_probability(value / spread, freedom)

    def harm(confidence: float) -> float:
        return max(value - student_t_quantile(confidence, freedom) * spread, 0.0) * share

    def finding(size: float) -> Finding:
        return Finding(
            kind=kind,
            subject=subject,
            harm=size,
            p_value=p_value,
            title=title,
            facts=facts,
            examples=examples,
            treatments=(TREATMENT,),
        )

    return Hypothesis(p_value, harm, finding)
