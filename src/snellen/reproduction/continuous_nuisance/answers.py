"""What classifiers answer on trajectories, as figures: the same at every scale. What was not measured is None."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from snellen.core.evidence import Evidence
from snellen.metrics.sweep import first_failures
from snellen.reproduction.sample import Figure, Sample
from snellen.systems.continuous_nuisance.robustness import (
    failure_summary,
    mean_relative_error,
    nuisance_curve,
    order_shift,
    paired_losses,
    rank_changes,
)
from snellen.systems.continuous_nuisance.strengths import beyond


def of_classifiers(
    evidence: Evidence,
    shifts: Sequence[str],
    enough: Sequence[str],
    models: Sequence[str],
    strengths: Sequence[float],
    *,
    reference: str,
    group: tuple[str, Sequence[str]] | None = None,
) -> dict[str, Figure]:
    """Figures of every classifier under the shifts with enough trajectories left.

    Args:
        evidence: of trajectories.
        shifts: names of all.
        enough: those with enough trajectories; under the others nothing is measured.
        models: names of the classifiers.
        strengths: ascending from 0.
        reference: whose losses are the unit of relative errors.
        group: a name, and shifts that also get figures of their own.

    Returns:
        ``SHIFT.MODEL.drop`` (mean over strengths), ``.failure`` (mean failure point; never is a step beyond the grid)
        and ``.accuracy_at_STRENGTH``; ``accuracy.MODEL`` at strength 0; ``loss.MODEL``, what is lost on each trajectory
        of all shifts, in one order for all classifiers; ``rce.MODEL``; the latter two also of the group.
        ``rank.distance``, ``rank.turned``, ``rank.chance`` and ``rank.p`` of :func:`order_shift`, and
        ``rank.changes``, pairs that
        McNemar's test is sure of.
    """
    figures: dict[str, Figure] = {
        f"{name}.{model}.{what}": None for name in shifts for model in models for what in ("drop", "failure")
    }
    neutral: dict[str, list[float]] = {model: [] for model in models}
    never = beyond(strengths)
    changes = 0
    for name in enough:
        for model in models:
            curve = nuisance_curve(evidence, name, model)
            summary = failure_summary(first_failures(evidence, name, model, never=never), strengths, never=never)
            neutral[model].append(curve[0].accuracy)
            figures[f"{name}.{model}.drop"] = fmean(point.drop for point in curve[1:])
            figures[f"{name}.{model}.failure"] = never - summary.margin
            figures |= {f"{name}.{model}.accuracy_at_{point.strength:g}": point.accuracy for point in curve}
        changes += len(rank_changes(evidence, name, models))
    parts = [("", list(enough))]
    if group is not None:
        parts.append((f"{group[0]}.", [name for name in enough if name in group[1]]))
    for before, names in parts:
        lost = paired_losses(evidence, names, models)
        for model in models:
            figures[f"{before}loss.{model}"] = None if lost is None else Sample.of(lost[model])
            # Where the reference loses nothing there is no unit, and nothing to report.
            figures[f"{before}rce.{model}"] = mean_relative_error(evidence, names, model, reference) if names else None
    found = order_shift(evidence, enough, models)
    return figures | {
        **{f"accuracy.{model}": fmean(values) if values else None for model, values in neutral.items()},
        "rank.distance": None if found is None else found.distance,
        "rank.turned": None if found is None else found.turned,
        "rank.chance": None if found is None else found.chance,
        "rank.p": None if found is None else found.p,
        "rank.changes": float(changes) if enough else None,
    }
