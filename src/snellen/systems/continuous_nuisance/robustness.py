"""What trajectories show of classifiers: curves, drops, failure points, relative errors, and orders that change.

All are views of the evidence that :func:`snellen.systems.continuous_nuisance.measuring.measure_trajectories` gives.
Intervals come from resampling whole units: a trajectory, or all trajectories of one seed where the evidence says so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations, pairwise
from statistics import fmean

import numpy as np
from numpy.typing import NDArray

from snellen.core.errors import InputError
from snellen.core.evidence import Evidence
from snellen.metrics.bootstrap import cluster_bootstrap
from snellen.metrics.corruption_error import relative_corruption_error
from snellen.metrics.intervals import wilson
from snellen.metrics.paired_test import mcnemar
from snellen.metrics.sweep import first_failures, setting_name, strengths
from snellen.metrics.units import unit_codes
from snellen.metrics.weighted import weighted_mean
from snellen.systems.continuous_nuisance.nuisance_set import CurvePoint, Failures, NuisanceFigures, Orders
from snellen.systems.continuous_nuisance.strengths import beyond

RESAMPLES = 1000


@dataclass(frozen=True)
class NuisancePoint:
    """Accuracy at one strength and what is lost since strength 0, each with its 95 % interval.

    Attributes:
        strength: of the shift.
        n: trajectories.
        accuracy: with ``low`` and ``high``.
        neutral: accuracy at strength 0 of the same trajectories, which belongs beside each drop: a weak classifier has
            little to lose.
        drop: ``neutral`` − ``accuracy``, with ``drop_low`` and ``drop_high``.
    """

    strength: float
    n: int
    accuracy: float
    low: float
    high: float
    neutral: float
    drop: float
    drop_low: float
    drop_high: float


@dataclass(frozen=True)
class FailureSummary:
    """Failure points of one classifier under one shift.

    Attributes:
        n: trajectories.
        failed: how many fail at any strength.
        mean_of_failed: their mean failure point; None where none fails.
        margin: mean of ``never`` − failure point over all.
        histogram: how many fail first at each strength; those that never do under ``never``.
    """

    n: int
    failed: int
    mean_of_failed: float | None
    margin: float
    histogram: Mapping[float, int]


@dataclass(frozen=True, eq=False)
class _Right:
    """Answers of one classifier: bool (trajectories, strengths), and the code of each trajectory's unit."""

    right: NDArray[np.float64]
    units: NDArray[np.int64]
    ids: tuple[str, ...]


def nuisance_curve(evidence: Evidence, name: str, model: str, *, seed: int = 0) -> list[NuisancePoint]:
    """Accuracy and drop over strength, with intervals from a bootstrap of whole units.

    A share of 0 or 1 has no spread to resample; its interval is Wilson's.

    Args:
        evidence: of trajectories.
        name: of the shift.
        model: whose answers.
        seed: of the resampling.

    Raises:
        InputError: no trajectory was measured at every strength.
    """
    grid = strengths(evidence, name)
    found = _answers(evidence, name, model, grid)
    points: list[NuisancePoint] = []
    first = found.right[:, 0]
    for column, strength in enumerate(grid):
        right = found.right[:, column]
        low, high = _interval(right, found.units, seed)
        if right.mean() in (0, 1):
            low, high = wilson(int(right.sum()), len(right))
        drop_low, drop_high = _interval(first - right, found.units, seed)
        points.append(
            NuisancePoint(
                strength, len(right), float(right.mean()), low, high, float(first.mean()),
                float((first - right).mean()), drop_low, drop_high,
            )
        )  # fmt: skip
    return points


def failure_summary(points: Mapping[str, float], grid: Sequence[float], *, never: float) -> FailureSummary:
    """Summarise what :func:`snellen.metrics.sweep.first_failures` gives.

    >>> failure_summary({"a": 0.5, "b": 3.0}, [0, 0.5], never=3.0)
    FailureSummary(n=2, failed=1, mean_of_failed=0.5, margin=1.25, histogram={0: 0, 0.5: 1, 3.0: 1})

    Raises:
        InputError: no trajectory.
    """
    if not points:
        raise InputError("no trajectory was measured at every strength, so there is no failure point")
    values = list(points.values())
    failed = [value for value in values if value != never]
    return FailureSummary(
        len(values),
        len(failed),
        fmean(failed) if failed else None,
        fmean(never - value for value in values),
        {strength: values.count(strength) for strength in [*grid, never]},
    )


def relative_error(evidence: Evidence, name: str, model: str, reference: str) -> float | None:
    """How much a classifier loses under a shift, in units of what a reference loses.

    Σ_s (E_s − E_0) / Σ_s (E^R_s − E^R_0) over strengths above 0: the relative corruption error of ImageNet-C. None
    where the reference does not get worse.

    Raises:
        InputError: no trajectory was measured at every strength.
    """
    ours, theirs = (_errors(evidence, name, one) for one in (model, reference))
    return relative_corruption_error(ours[1:], ours[0], theirs[1:], theirs[0])


def mean_relative_error(evidence: Evidence, names: Sequence[str], model: str, reference: str) -> float | None:
    """The mean of :func:`relative_error` over the shifts where it is defined; None without any."""
    found = [relative_error(evidence, name, model, reference) for name in names]
    defined = [value for value in found if value is not None]
    return fmean(defined) if defined else None


def rankings(evidence: Evidence, name: str, models: Sequence[str]) -> dict[float, list[str]]:
    """Classifiers at each strength, the most accurate first; equal ones in the order of ``models``."""
    grid = strengths(evidence, name)
    means = {model: _answers(evidence, name, model, grid).right.mean(0) for model in models}
    ordered: dict[float, list[str]] = {}
    for column, strength in enumerate(grid):
        accuracy = {model: float(values[column]) for model, values in means.items()}
        ordered[strength] = sorted(models, key=lambda model, known=accuracy: -known[model])  # type: ignore[misc]
    return ordered


def rank_distance(first: Sequence[str], second: Sequence[str]) -> float:
    """Share of pairs that two rankings order differently (Kendall's distance), in [0, 1].

    >>> rank_distance(["a", "b", "c"], ["b", "a", "c"])
    0.3333333333333333
    """
    pairs = list(combinations(first, 2))
    return sum(second.index(one) > second.index(other) for one, other in pairs) / len(pairs) if pairs else 0.0


def rank_changes(
    evidence: Evidence, name: str, models: Sequence[str], *, level: float = 0.05
) -> list[tuple[str, str, float, float]]:
    """Pairs of classifiers whose order is one way at a strength and the other way at a larger one, beyond chance.

    An order counts where McNemar's exact test of the same trajectories rejects equal accuracies, at a level that all
    comparisons of the shift share (Bonferroni). The trajectories of one shift are independent: each has its own seed.

    Returns:
        (better at the lower strength, better at the higher one, lower strength, higher strength); the first change of
        each pair.
    """
    grid = strengths(evidence, name)
    found = {model: _answers(evidence, name, model, grid) for model in models}
    compared = max(len(grid) * len(models) * (len(models) - 1) // 2, 1)
    shared = level / compared
    changes: list[tuple[str, str, float, float]] = []
    for one, other in combinations(models, 2):
        sure = [(s, _sign(found[one], found[other], column, shared)) for column, s in enumerate(grid)]
        clear = [(strength, sign) for strength, sign in sure if sign]
        for (low, before), (high, after) in pairwise(clear):
            if before != after:
                changes.append((one, other, low, high) if before > 0 else (other, one, low, high))
                break
    return changes


def paired_losses(
    evidence: Evidence, names: Sequence[str], models: Sequence[str]
) -> dict[str, NDArray[np.float64]] | None:
    """What each classifier loses on each trajectory: its answer at strength 0 minus the mean of those above, (n,).

    A row of one classifier and that of another are of the same trajectory: their difference is paired. The trajectories
    of all shifts follow each other. None where there is no shift.

    Raises:
        InputError: a shift under which no trajectory was measured at every strength, or not by all classifiers.
    """
    found: dict[str, list[NDArray[np.float64]]] = {model: [] for model in models}
    for name in names:
        grid = strengths(evidence, name)
        answers = [_answers(evidence, name, model, grid) for model in models]
        _check_same(answers)
        for model, one in zip(models, answers, strict=True):
            found[model].append(one.right[:, 0] - one.right[:, 1:].mean(1))
    return {model: np.concatenate(parts) for model, parts in found.items()} if names else None


@dataclass(frozen=True)
class OrderShift:
    """How much the order of classifiers differs between the least and the largest strength.

    Attributes:
        distance: share of pairs whose order is strictly the other way, in the mean over shifts.
        turned: by how much: the geometric mean of both leads, in accuracy, 0 where the order stays; the mean over pairs
            and shifts.
        chance: the mean of ``turned`` where both strengths are exchanged for half of the trajectories, drawn anew each
            time: what differs when the strength has nothing to do with it.
        p: share of these draws that give as much or more; the draw that was observed counts as one.
    """

    distance: float
    turned: float
    chance: float
    p: float


def order_shift(
    evidence: Evidence, names: Sequence[str], models: Sequence[str], *, low: int = 0, draws: int = 1000, seed: int = 0
) -> OrderShift | None:
    """Pooled permutation test of one question over all shifts: does the order change with strength.

    Under the null hypothesis the two answers of a trajectory, at either strength, are exchangeable for all classifiers
    together, so that trajectories keep what they have in common. No correction for many comparisons is needed: there is
    one statistic.

    Args:
        evidence: of trajectories.
        names: of the shifts.
        models: classifiers, two or more.
        low: position of the lower strength in the grid.
        draws: of the permutation.
        seed: of the draws.

    Returns:
        None without a shift or with fewer than two classifiers.

    Raises:
        InputError: a shift under which no trajectory was measured at every strength, or not by all classifiers.
    """
    if not names or len(models) < 2:
        return None
    rng = np.random.default_rng(seed)
    pairs = np.array(list(combinations(range(len(models)), 2)))
    distance, observed, drawn = [], [], []
    for name in names:
        grid = strengths(evidence, name)
        answers = [_answers(evidence, name, model, grid) for model in models]
        _check_same(answers)
        ends = np.stack([one.right[:, [low, -1]] for one in answers])  # classifiers, trajectories, 2
        apart = ends[pairs[:, 0]] - ends[pairs[:, 1]]
        distance.append(float((apart.sum(1).prod(1) < 0).mean()))
        observed.append(_turned(apart.mean(1)))
        swapped = rng.random((draws, apart.shape[1])) < 0.5
        # Half of the sum of both ends stays, and half of their difference changes its sign with the exchange.
        middle, half = apart.sum(2).mean(1) / 2, (apart[..., 0] - apart[..., 1]) / 2
        moved = np.where(swapped, -1.0, 1.0) @ half.T / half.shape[1]
        drawn.append(_turned(np.stack([middle + moved, middle - moved], -1)))
    turned, permuted = float(np.mean(observed)), np.mean(drawn, axis=0)
    more = int((permuted >= turned - 1e-12).sum())
    return OrderShift(float(np.mean(distance)), turned, float(permuted.mean()), (more + 1) / (draws + 1))


def _turned(leads: NDArray[np.float64]) -> NDArray[np.float64]:
    """Geometric mean of the leads (…, pairs, 2) at both ends where their signs differ, else 0; mean over pairs."""
    return np.asarray(np.sqrt(np.maximum(-leads[..., 0] * leads[..., 1], 0.0)).mean(-1))


def _check_same(answers: Sequence[_Right]) -> None:
    if any(one.ids != answers[0].ids for one in answers):
        raise InputError("classifiers are compared on the same trajectories, and some answered others alone")


def _sign(one: _Right, other: _Right, column: int, level: float) -> int:
    """1 where the one is surely more accurate, −1 where the other is, else 0."""
    _check_same([one, other])
    difference = one.right[:, column] - other.right[:, column]
    only_one, only_other = int((difference > 0).sum()), int((difference < 0).sum())
    if mcnemar(only_one, only_other) > level:
        return 0
    return 1 if only_one > only_other else -1


def _errors(evidence: Evidence, name: str, model: str) -> list[float]:
    found = _answers(evidence, name, model, strengths(evidence, name))
    return [float(value) for value in 1 - found.right.mean(0)]


def _answers(evidence: Evidence, name: str, model: str, grid: Sequence[float]) -> _Right:
    columns = [evidence.correct(setting_name(name, strength), model) for strength in grid]
    ids = [key for key in (columns[0] if columns else ()) if all(key in column for column in columns)]
    if not ids:
        raise InputError(f"{model} has no trajectory under {name} that was measured at every strength")
    table = evidence.where(model=model).table
    unit_of = dict(zip(table["example_id"].to_pylist(), table["unit_id"].to_pylist(), strict=True))
    right = np.array([[column[key] for column in columns] for key in ids], dtype=np.float64)
    return _Right(right, unit_codes([unit_of[key] for key in ids]), tuple(ids))


def _interval(values: NDArray[np.float64], units: NDArray[np.int64], seed: int) -> tuple[float, float]:
    if values.min() == values.max():
        return float(values[0]), float(values[0])
    if len(np.unique(units)) < 2:
        return float(values.min()), float(values.max())
    sample = cluster_bootstrap(
        weighted_mean(values), len(values), units, resamples=RESAMPLES, rng=np.random.default_rng(seed)
    )
    low, high = sample.percentile()
    return low, high


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
    """Orders under one shift; None for fewer than two classifiers, or if some answered other trajectories."""
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
