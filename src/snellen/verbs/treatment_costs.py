"""What findings and candidates cost where errors do not cost alike: by that treatments are chosen then.

All of it is what decisions cost beyond the right one, as a share of the costliest error: with costs that are alike it
is the error.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from snellen.auditing.compare.pairing import Pair, Side, pair_runs
from snellen.auditing.compare.run_record import RunRecord
from snellen.auditing.factor_cells import pair_cells, single_cells
from snellen.checks.per_image import ABSENT, PerImage
from snellen.core.finding import Finding
from snellen.data.files.costs import regrets
from snellen.methods.corruptions.benchmarks import IMAGENET_C, benchmark
from snellen.metrics.sweep import setting_name
from snellen.verbs.treatment_measures import OF_ITS_IMAGES, SUSPECTS

#: Kinds that are measured by what all decisions on clean images cost.
_OF_ALL = frozenset({"accuracy", "drift", "natural_shift", "class_order", "unanswered_classes"})

#: Kinds whose harm is a part of what decisions on clean images cost.
OF_CLEAN_DECISIONS = (
    _OF_ALL | OF_ITS_IMAGES | {SUSPECTS, "worst_class", "group_gap", "data_quality", "costly_decisions"}
)

#: A finding, the pair, one of its sides: what its decisions cost; None where that is not known.
_Measure = Callable[[Finding, Pair, Side], float | None]


def clean_costs(before: RunRecord, after: RunRecord) -> tuple[float, float] | None:
    """Mean cost of a decision on clean images before and after; None where errors cost alike."""
    pair = pair_runs(before, after)
    if any(side.costs is None or alike(side.costs) for side in (pair.first, pair.second)):
        return None
    first, second = _clean(pair.first), _clean(pair.second)
    return None if first is None or second is None else (first, second)


def measured_in_costs(
    before: RunRecord, after: RunRecord, findings: Sequence[Finding]
) -> dict[str, tuple[float, float]]:
    """What lies behind findings before and after, by key: costs where an error counts one in the comparison of runs.

    Classes and groups are measured by what their decisions cost beyond those of the others, damage and threats by what
    they add. Findings of other kinds are in no result, and none is without costs.

    Args:
        before: an audit of the classifier as it was.
        after: an audit of the treated one on the same images.
        findings: that were treated.
    """
    pair = pair_runs(before, after)
    if any(side.costs is None for side in (pair.first, pair.second)):
        return {}
    found = {}
    for finding in findings:
        measure = _MEASURES.get(finding.kind) or (_all if finding.kind in _OF_ALL else None)
        if measure is None:
            continue
        first, second = (measure(finding, pair, side) for side in (pair.first, pair.second))
        if first is not None and second is not None:
            found[finding.key] = (first, second)
    return found


def _priced(side: Side) -> PerImage | None:
    costs = side.costs
    return None if costs is None else replace(side.images, costs=regrets(costs.tolist()))


def alike(costs: ArrayLike) -> bool:
    """Whether every error costs the same beyond the right decision, (k, k).

    >>> alike([[0, 3], [3, 0]]), alike([[0, 1], [20, 0]])
    (True, False)
    """
    beyond = regrets(np.asarray(costs, dtype=np.float64).tolist())
    return bool(np.allclose(beyond, 1 - np.eye(len(beyond)), atol=1e-12))


def _clean(side: Side) -> float | None:
    images = _priced(side)
    return None if images is None or not len(images) else float(images.lost.mean())


def _all(finding: Finding, pair: Pair, side: Side) -> float | None:
    return _clean(side)


def _class(finding: Finding, pair: Pair, side: Side) -> float | None:
    images, names = _priced(side), pair.first.record.class_names
    if images is None or finding.subject not in names:
        return None
    return _gap(images, images.labels == names.index(finding.subject), np.ones(len(images), dtype=bool))


def _group(finding: Finding, pair: Pair, side: Side) -> float | None:
    images = _priced(side)
    if images is None:
        return None
    if images.factors:
        singles = single_cells(images)
        cell = next((one for one in (*singles, *pair_cells(singles)) if one.subject == finding.subject), None)
        return None if cell is None else _gap(images, cell.member, np.logical_or.reduce(cell.among))
    named = np.array([group is not None for group in images.groups])
    return _gap(images, np.array([group == finding.subject for group in images.groups]), named)


def _gap(images: PerImage, member: NDArray[np.bool_], among: NDArray[np.bool_]) -> float | None:
    others = among & ~member
    if not member.any() or not others.any():
        return None
    return float(images.lost[member].mean() - images.lost[others].mean())


def _damage(finding: Finding, pair: Pair, side: Side) -> float | None:
    """On average over the severities, and over the kinds of a family that both runs measured."""
    given = side.record.parameters.get("corruption", {})
    families = benchmark(str(given.get("benchmark", IMAGENET_C))).families
    kinds = families.get(finding.subject, (finding.subject,))
    both = [
        kind
        for kind in kinds
        if all(f"corruption.{kind}.error" in one.record.report.metrics for one in (pair.first, pair.second))
    ]
    return _added(side, "corruption", [setting_name(kind, one) for kind in both for one in given["severities"]])


def _threat(finding: Finding, pair: Pair, side: Side) -> float | None:
    return _added(side, "adversarial", [finding.subject])


def _added(side: Side, check: str, settings: Sequence[str]) -> float | None:
    """What decisions cost more in these settings than on the clean images, where all of them were measured."""
    images, evidence = _priced(side), side.record.evidence.get(check)
    if images is None or evidence is None or not settings:
        return None
    whole = side.record.images
    kept = np.all([side.outcomes(check, setting) != ABSENT for setting in settings], axis=0)
    if not kept.any():
        return None
    after = [images.loss_of(whole.decisions(evidence, setting)[0][side.rows]) for setting in settings]
    return float((np.mean(after, axis=0) - images.lost)[kept].mean())


_MEASURES: dict[str, _Measure] = {
    "worst_class": _class,
    "group_gap": _group,
    "corruption": _damage,
    "adversarial": _threat,
}
