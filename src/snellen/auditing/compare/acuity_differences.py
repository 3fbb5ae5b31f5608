"""How far each run reads the eye chart, and the difference."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from snellen.auditing.compare.difference import FromInterval, unpaired_difference
from snellen.auditing.compare.figures import right_under
from snellen.auditing.compare.pairing import Pair, Side, differing_parameters
from snellen.checks.check import CheckFigure
from snellen.checks.eye_chart import UNCHANGED, Acuity, acuities, chance_level, crossing
from snellen.core.errors import InputError
from snellen.metrics.bootstrap import paired_bootstrap
from snellen.metrics.sweep import setting_name
from snellen.metrics.weighted import WeightedStatistic


@dataclass(frozen=True)
class AcuityDifference:
    """Severity up to which each run reads under one nuisance: second − first, with its 95 % interval."""

    name: str
    first: Acuity
    second: Acuity
    low: float
    high: float
    paired: bool

    @property
    def value(self) -> float:
        """Second − first, in severities."""
        return self.second.value - self.first.value


def compare_acuities(pair: Pair, *, resamples: int) -> list[AcuityDifference]:
    """Differences for all nuisances whose acuity both runs measured, by the paired bootstrap of percentiles.

    A run that still reads the last line that was tested counts with that line: the difference is then only as large as
    the chart could show.
    """
    charts = [side.record.report.eye_chart for side in (pair.first, pair.second)]
    if (
        charts[0] is None
        or charts[1] is None
        or "corruption" in differing_parameters(pair.first.record, pair.second.record)
    ):
        return []
    ours, theirs = acuities(charts[0]), acuities(charts[1])
    found = []
    for name in ours:
        if name not in theirs:
            continue
        before, after = ours[name], theirs[name]
        interval = _bootstrapped(name, pair, resamples) if pair.paired else None
        if interval is None:
            difference = unpaired_difference(_interval(before), _interval(after), None, None)
            interval = difference.low, difference.high
            paired = False
        else:
            paired = True
        found.append(AcuityDifference(name, before, after, *interval, paired=paired))
    return found


def _bootstrapped(name: str, pair: Pair, resamples: int) -> tuple[float, float] | None:
    first, second = _statistic(pair.first, name), _statistic(pair.second, name)
    if first is None or second is None:
        return None
    n = len(pair.first.images)
    try:
        sample = paired_bootstrap(
            second, first, n, pair.units, resamples=resamples, rng=np.random.default_rng(0), jackknife_groups=2
        )
    except InputError:  # too few units, or no better than chance in most resamples
        return None
    low, high = sample.percentile()
    return low, high


def _statistic(side: Side, kind: str) -> WeightedStatistic | None:
    """Acuity as a function of the weights of the images; None where an image lacks a severity."""
    parameters = side.record.parameters.get("corruption", {})
    severities = sorted(parameters.get("severities", ()))
    rows = [right_under(side, "corruption", setting_name(kind, severity)) for severity in severities]
    if not rows or np.isnan(rows).any():
        return None
    right = np.stack([side.images.correct.astype(np.float64), *rows])
    lines = np.array([UNCHANGED, *severities], dtype=np.float64)
    chance = chance_level(side.images.labels, len(side.record.class_names))

    def statistic(weights: NDArray[np.float64]) -> float:
        accuracy = right @ weights / weights.sum()
        sight = accuracy[0] - chance
        if sight <= 0:
            return float("nan")
        found = crossing(lines, (accuracy - chance) / sight)
        return float(lines[-1]) if found is None else found

    return statistic


def _interval(acuity: Acuity) -> FromInterval:
    return FromInterval(CheckFigure(value=acuity.value, low=acuity.low, high=acuity.high, n=0))
