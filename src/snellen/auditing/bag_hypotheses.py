"""What may be wrong with decisions on bags: guessing, missed bags, false alarms, a site served worse, evidence."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from snellen.auditing.bag_table import BagTable
from snellen.auditing.gaps import ErrorGap, error_gap
from snellen.checks.hypothesis import Hypothesis
from snellen.checks.independent import one_of_each
from snellen.checks.per_image import PerImage, rows_of
from snellen.core.finding import Finding, FindingExample
from snellen.metrics.auroc import auroc
from snellen.metrics.clustered import clustered_share
from snellen.metrics.incomplete_beta import regularised_incomplete_beta
from snellen.metrics.intervals import clopper_pearson
from snellen.metrics.stratified import stratified_interval

#: Share of the way from guessing to a perfect balanced accuracy below which bags count as guessed.
SIGHT = 0.1

#: Half the width of a normal 95 % interval, in standard errors.
TWO_SIDED = NormalDist().inv_cdf(0.975)

#: Share of found positive bags up to which their strongest image may be a negative one without a finding.
TOLERATED = 0.05

#: Area from which on scores order the bags well enough that another threshold may mend a gap between classes.
ORDERED = 0.8


def bag_hypotheses(bags: BagTable, known: PerImage, names: tuple[str, ...], examples: int) -> list[Hypothesis]:
    """All hypotheses on bags of known label; a bag's unit is its patient.

    Args:
        bags: of the audit.
        known: the images behind them.
        names: of the classes.
        examples: pictures for each finding.
    """
    kept = bags.labelled
    positive, negative = kept & bags.truth, kept & ~bags.truth
    found: list[Hypothesis | None] = []
    if positive.any() and negative.any():
        found.append(_guessing(bags, known, names, examples))
        found += [_class(bags, known, member, names, examples) for member in (positive, negative)]
    for groups in bags.groupings:
        found += [
            _group(bags, known, name, rows, groups, names, examples) for name, rows in sorted(rows_of(groups).items())
        ]
    found.append(_evidence(bags, known, names, examples))
    return [one for one in found if one is not None]


def worst_bags(
    bags: BagTable, known: PerImage, among: NDArray[np.bool_], names: tuple[str, ...], count: int
) -> tuple[FindingExample, ...]:
    """The image that speaks loudest in each wrong bag, bags furthest on the wrong side of the threshold first.

    Of a missed bag whose positive images are known it is the likeliest of these, else the likeliest of all.
    """
    wrong = np.flatnonzero(among & bags.labelled & ~bags.correct).tolist()
    ranked = sorted(wrong, key=lambda place: (-abs(bags.scores[place] - bags.threshold), bags.ids[place]))
    examples = []
    for place in ranked[:count]:
        rows = bags.members[place]
        known_positive = rows[known.labels[rows] == bags.positive]
        row = known_positive[bags.probabilities[known_positive].argmax()] if len(known_positive) else None
        chosen = bags.strongest[place] if row is None else row
        examples.append(
            FindingExample(
                example_id=known.ids[chosen],
                caption=(
                    f"{names[bags.labels[place]]} bag {bags.ids[place]}, score {bags.scores[place]:.3f}; this image "
                    f"{bags.probabilities[chosen]:.3f}"
                ),
            )
        )
    return tuple(examples)


def _guessing(bags: BagTable, known: PerImage, names: tuple[str, ...], examples: int) -> Hypothesis:
    """That bags are separated: of what balanced accuracy can be above guessing, there is at least a tenth."""
    kept, bar = bags.labelled, 0.5 + SIGHT / 2
    right, truth, units = bags.correct[kept], bags.truth[kept], bags.units_of(kept)
    balanced, _, high = stratified_interval(right.astype(np.float64), truth.astype(np.int64), units)
    # Where nothing is known of the spread, the interval is infinite, and the p value ½.
    p_value = NormalDist().cdf((balanced - bar) / ((high - balanced) / TWO_SIDED))

    def finding(harm: float) -> Finding:
        return Finding(
            kind="bag_accuracy",
            harm=harm,
            p_value=p_value,
            title=f"Bags are decided hardly better than by guessing: balanced accuracy {balanced:.1%}",
            facts={
                "bags": len(right),
                "balanced_accuracy": balanced,
                "accuracy": float(right.mean()),
                "auroc": auroc(truth, bags.scores[kept]),
                "threshold": bags.threshold,
            },
            examples=worst_bags(bags, known, kept, names, examples),
        )

    return Hypothesis(p_value, lambda level: clustered_share(~right, units, 2 * level - 1).low, finding)


def _gap(bags: BagTable, member: NDArray[np.bool_]) -> ErrorGap | None:
    kept = bags.labelled
    return error_gap(~bags.correct[kept], member[kept], bags.units_of(kept))


def _class(
    bags: BagTable, known: PerImage, member: NDArray[np.bool_], names: tuple[str, ...], examples: int
) -> Hypothesis | None:
    """That positive bags are wrong no more often than the others, or the others no more often than they."""
    gap = _gap(bags, member)
    if gap is None:
        return None
    kept, name, missed = bags.labelled, names[bags.positive], bool(bags.truth[member].any())
    area = auroc(bags.truth[kept], bags.scores[kept])
    what = "are missed" if missed else f"are taken for {name}"
    rest = f"bags that are not {name}"

    def finding(harm: float) -> Finding:
        lost = round(gap.inside * gap.inside_n)
        return Finding(
            kind="missed_bags" if missed else "bag_false_alarms",
            subject=name,
            harm=harm,
            p_value=gap.p_value,
            title=(
                f"{lost} of {gap.inside_n} {f'{name} bags' if missed else rest} {what} ({gap.inside:.0%}); of "
                f"{rest if missed else f'{name} bags'} {gap.outside:.0%} are called wrongly"
            ),
            facts={
                "bags": gap.inside_n,
                "wrong": lost,
                "wrong_elsewhere": gap.outside,
                "auroc": area,
                "threshold": bags.threshold,
            },
            examples=worst_bags(bags, known, member, names, examples),
            treatments=("choose the threshold on validation bags: --set bags.threshold=VALUE",)
            if area >= ORDERED
            else (),
        )

    return Hypothesis(gap.p_value, gap.harm, finding)


def _group(
    bags: BagTable,
    known: PerImage,
    name: str,
    rows: NDArray[np.int64],
    groups: Sequence[str | None],
    names: tuple[str, ...],
    examples: int,
) -> Hypothesis | None:
    """That the bags of a group, such as a site, are wrong no more often than those of all other groups."""
    grouped = np.array([group is not None for group in groups]) & bags.labelled
    member = np.zeros(len(bags), dtype=bool)
    member[rows] = True
    member &= grouped
    gap = error_gap(~bags.correct[grouped], member[grouped], bags.units_of(grouped))
    if gap is None:
        return None

    def finding(harm: float) -> Finding:
        return Finding(
            kind="bag_group_gap",
            subject=name,
            harm=harm,
            p_value=gap.p_value,
            title=f"Group {name} is right in {1 - gap.inside:.0%} of its bags, others in {1 - gap.outside:.0%}",
            facts={
                "group": name,
                "bags": gap.inside_n,
                "accuracy": 1 - gap.inside,
                "accuracy_elsewhere": 1 - gap.outside,
                "positive_bags": int((member & bags.truth).sum()),
                "patients": len(np.unique(bags.unit_codes[member])),
            },
            examples=worst_bags(bags, known, member, names, examples),
        )

    return Hypothesis(gap.p_value, gap.harm, finding)


def _evidence(bags: BagTable, known: PerImage, names: tuple[str, ...], examples: int) -> Hypothesis | None:
    """That a found positive bag is found for a positive image: the strongest is negative in no more than a twentieth.

    Where several are equally strong, one positive image among them is enough. Only bags whose images all have labels,
    one of each unit: the test counts bags as independent.
    """
    found = found_for(bags, known)
    tested = np.array(list(found), dtype=np.int64)
    judged = tested[one_of_each([bags.ids[place] for place in tested], bags.unit_codes[tested])]
    strongest = bags.strongest[judged]
    mistaken = np.array([not found[place] for place in judged.tolist()], dtype=bool)
    n, several = len(judged), int(mistaken.sum())
    if not n:
        return None
    p_value = regularised_incomplete_beta(TOLERATED, several, n - several + 1) if several else 1.0
    share = len(tested) / int(bags.labelled.sum())

    def finding(harm: float) -> Finding:
        name = names[bags.positive]
        return Finding(
            kind="bag_evidence",
            subject=name,
            harm=harm,
            p_value=p_value,
            title=f"{several} of {n} {name} bags that are found have an image that is not {name} as their strongest",
            facts={"bags": n, "for_a_negative_image": several},
            examples=tuple(
                FindingExample(
                    example_id=known.ids[row],
                    caption=f"{names[known.labels[row]]}, strongest of bag {bags.ids[bags.of_image[row]]}: "
                    f"{bags.probabilities[row]:.3f}",
                )
                for row in strongest[mistaken][:examples].tolist()
            ),
        )

    return Hypothesis(p_value, lambda level: share * clopper_pearson(several, n, 2 * level - 1).low, finding)


def found_for(bags: BagTable, known: PerImage) -> dict[int, bool]:
    """Positive bags that are found and whose images all have labels → whether a strongest image is positive.

    Args:
        bags: of the audit.
        known: the images behind them.
    """
    whole = np.array([bool(known.labelled[rows].all()) for rows in bags.members], dtype=bool)
    tested = np.flatnonzero(whole & bags.labelled & bags.truth & bags.called)
    return {place: _for_a_positive_image(bags, known, place) for place in tested.tolist()}


def _for_a_positive_image(bags: BagTable, known: PerImage, place: int) -> bool:
    rows = bags.members[place]
    highest = bags.probabilities[rows] == bags.probabilities[bags.strongest[place]]
    return bool((known.labels[rows[highest]] == bags.positive).any())
