"""Figures of the corruption check, from its evidence: errors by kind, normalised errors, which class breaks where."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow.compute as pc

from snellen.auditing.check import Measured
from snellen.evidence import Evidence
from snellen.metrics.corruption_error import Reference
from snellen.metrics.intervals import stratified_mean_interval, wilson
from snellen.sweep import setting_name

#: A class is broken when more than this share of its images that are right when clean is lost, for certain.
BROKEN = 0.5

#: A reference that loses no more than this to a kind has no rise to divide by.
ROUNDING = 1e-9


def decisions(evidence: Evidence, setting: str) -> dict[str, bool]:
    """Whether each labelled example was right; no decision at all (scores that are not finite) is a wrong one."""
    table = evidence.where(setting=setting, status="failed").table
    undecided = table.filter(pc.is_valid(table["label"]))["example_id"].to_pylist()
    return {**dict.fromkeys(undecided, False), **evidence.correct(setting)}


def mean_errors(evidence: Evidence, kind: str, severities: Sequence[float], ids: Sequence[str]) -> np.ndarray:
    """Error of each example, averaged over the severities: float64 (n,)."""
    after = [decisions(evidence, setting_name(kind, severity)) for severity in severities]
    return 1.0 - np.array([[right[key] for right in after] for key in ids], dtype=np.float64).mean(1)


def error_metrics(
    evidence: Evidence,
    clean: Evidence,
    kinds: Sequence[str],
    severities: Sequence[float],
    *,
    balanced: bool,
    reference: Reference | None,
) -> dict[str, Measured]:
    """Errors averaged over severities, by kind and over all kinds; with a reference, also normalised by its errors.

    ``corruption.KIND.error``, ``corruption.error``, ``corruption.clean_error``; ``corruption.mce`` (CE averaged over
    the kinds) and ``corruption.relative_mce`` (over the kinds of which the reference loses anything). Balanced errors
    weigh every class alike. Intervals take the reference's errors as known.
    """
    before = clean.correct("clean")
    after = [decisions(evidence, setting_name(kind, severity)) for kind in kinds for severity in severities]
    usable = [key for key in before if all(key in right for right in after)]
    if not usable:
        return {}
    label_of = dict(zip(clean.table["example_id"].to_pylist(), clean.table["label"].to_pylist(), strict=True))
    strata = np.array([label_of[key] if balanced else 0 for key in usable])
    clean_error = 1.0 - np.array([before[key] for key in usable], dtype=np.float64)
    by_kind = {kind: mean_errors(evidence, kind, severities, usable) for kind in kinds}

    def measured(values: np.ndarray, least: float = 0.0, most: float = 1.0) -> Measured:
        """Mean and interval, cut to what is possible: an image for each class says nothing about their spread."""
        mean = float(np.mean([values[strata == stratum].mean() for stratum in np.unique(strata)]))
        low, high = stratified_mean_interval(values, strata)
        return Measured(value=mean, low=max(low, least), high=min(high, most), n=len(values))

    found = {f"corruption.{kind}.error": measured(values) for kind, values in by_kind.items()}
    found["corruption.clean_error"] = measured(clean_error)
    found["corruption.error"] = measured(np.mean(list(by_kind.values()), axis=0))
    if reference is not None:
        counting = {kind: reference.mean_errors[kind] for kind in kinds if kind not in reference.extra}
        divisors = {kind: error for kind, error in counting.items() if error > 0}
        if divisors:
            ratios = [by_kind[kind] / error for kind, error in divisors.items()]
            most = float(np.mean([1 / error for error in divisors.values()]))
            found["corruption.mce"] = measured(np.mean(ratios, axis=0), most=most)
        rises = {kind: error - reference.clean_error for kind, error in counting.items()}
        rises = {kind: rise for kind, rise in rises.items() if rise > ROUNDING}
        if rises:
            relative = [(by_kind[kind] - clean_error) / rise for kind, rise in rises.items()]
            most = float(np.mean([1 / rise for rise in rises.values()]))
            found["corruption.relative_mce"] = measured(np.mean(relative, axis=0), -most, most)
    return found


def class_breaks(
    evidence: Evidence,
    clean: Evidence,
    kind: str,
    severities: Sequence[float],
    names: Sequence[str],
) -> dict[str, float]:
    """Classes that a kind breaks, and the smallest severity at which it does.

    A class is broken when, of its images that are right when clean, more than half are wrong for certain (lower end of
    the 95 % Wilson interval).
    """
    before = clean.correct("clean")
    label_of = dict(zip(clean.table["example_id"].to_pylist(), clean.table["label"].to_pylist(), strict=True))
    members: dict[int, list[str]] = {}
    for key, right in before.items():
        if right:
            members.setdefault(label_of[key], []).append(key)
    found: dict[str, float] = {}
    for severity in sorted(severities):
        after = decisions(evidence, setting_name(kind, severity))
        for label, keys in sorted(members.items()):
            known = [key for key in keys if key in after]
            lost = sum(not after[key] for key in known)
            if names[label] not in found and wilson(lost, len(known)).low > BROKEN:
                found[names[label]] = severity
    return found


def half_lost_at(points: Mapping[str, float | None]) -> float | None:
    """Smallest severity by which half of the images that are right when clean have been wrong; None if none is."""
    failed = sorted(point for point in points.values() if point is not None)
    middle = (len(points) + 1) // 2
    return failed[middle - 1] if points and len(failed) >= middle else None
