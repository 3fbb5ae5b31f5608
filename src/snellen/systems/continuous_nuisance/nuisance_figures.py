"""What classifiers make of trajectories: curves, failure points, errors beside a reference, orders that change."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

from snellen.core.errors import InputError
from snellen.core.evidence import Evidence
from snellen.metrics.sweep import first_failures, setting_name
from snellen.systems.continuous_nuisance.nuisance_set import CurvePoint, Failures, NuisanceFigures, Orders
from snellen.systems.continuous_nuisance.robustness import (
    failure_summary,
    mean_relative_error,
    nuisance_curve,
    rank_changes,
    rankings,
    relative_error,
)
from snellen.systems.continuous_nuisance.strengths import beyond


def measured_at_all(evidence: Evidence, concept: str, model: str, strengths: Sequence[float]) -> bool:
    """Whether a classifier gave a decision for some trajectory at every strength."""
    decided = [set(evidence.correct(setting_name(concept, strength), model)) for strength in strengths]
    return bool(set.intersection(*decided))


def figures_of(
    evidence: Evidence, concept: str, model: str, strengths: Sequence[float], *, reference: str | None, seed: int
) -> NuisanceFigures | None:
    """Figures of one classifier under one shift; None where no trajectory was measured at every strength."""
    if not measured_at_all(evidence, concept, model, strengths):
        return None
    never = beyond(strengths)
    found = failure_summary(first_failures(evidence, concept, model, never=never), strengths, never=never)
    beside = None
    if reference is not None and measured_at_all(evidence, concept, reference, strengths):
        beside = relative_error(evidence, concept, model, reference)
    return NuisanceFigures(
        curve=tuple(CurvePoint(**asdict(point)) for point in nuisance_curve(evidence, concept, model, seed=seed)),
        failures=Failures(
            n=found.n,
            failed=found.failed,
            mean_of_failed=found.mean_of_failed,
            margin=found.margin,
            never=never,
            histogram={f"{strength:g}": count for strength, count in found.histogram.items()},
        ),
        relative_error=beside,
    )


def mean_over_shifts(evidence: Evidence, concepts: Sequence[str], model: str, reference: str) -> float | None:
    """rCE: the mean of the relative errors over the shifts at which it is defined; None without any."""
    return mean_relative_error(evidence, concepts, model, reference) if concepts else None


def orders_of(evidence: Evidence, concept: str, models: Sequence[str]) -> Orders | None:
    """Orders under one shift; None for fewer than two classifiers, or of which some answered other trajectories."""
    if len(models) < 2:
        return None
    try:
        changed = rank_changes(evidence, concept, models)
        ranked = rankings(evidence, concept, models)
    except InputError:
        # Scores that are not finite cost one classifier decisions that the others have.
        return None
    return Orders(
        by_strength={f"{strength:g}": tuple(order) for strength, order in ranked.items()},
        changes=tuple(
            f"{first} is ahead of {second} at strength {low:g}, and behind it at {high:g}"
            for first, second, low, high in changed
        ),
    )
