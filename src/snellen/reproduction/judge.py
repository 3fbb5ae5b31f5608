"""The judge of claims: an interval for what a claim is about, and what follows from it.

A claim is about one quantity: a figure, or the difference of two. Where the experiment gives a value for every image,
the interval is a **paired hierarchical bootstrap**: seeds are drawn with replacement, and within each drawn seed its
images, the same ones for both figures. A bootstrap of few seeds is too narrow, so its deviations are widened: by
√(S/(S − 1)) for S seeds, and by Student's quantile over the normal one, with Satterthwaite's degrees of freedom. These
are many where seeds differ no more than their images explain, and S − 1 where one trained network a seed decides. Where
events are few, a share and a difference of two shares also get the exact interval of Clopper and Pearson over all
images, and the wider end counts. Figures that are one number a seed get Student's interval. Every interval ends at the
natural range of its quantity.

Values that do not vary at all have no interval. They decide by their signs: with n seeds on the claimed side, chance
gives as much with probability 2⁻ⁿ, which must be below 2.5 %.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from statistics import NormalDist
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from snellen.core.errors import SnellenError
from snellen.core.system import Claim, Gate, Verdict
from snellen.metrics.incomplete_beta import student_t_quantile
from snellen.metrics.intervals import clopper_pearson, mean_interval
from snellen.reproduction.result import ClaimResult, GateResult
from snellen.reproduction.sample import Figure, Sample, mean_of

#: Drawn replicates of the bootstrap.
REPLICATES = 10_000

#: With fewer events than this, or fewer non-events, a share also gets its exact interval.
FEW = 30

#: One-sided level of a claim: half of what a 95 % interval leaves out.
LEVEL = 0.025


class Interval(NamedTuple):
    """Ends of a 95 % interval."""

    low: float
    high: float


def judge_gate(gate: Gate, runs: Sequence[Mapping[str, Figure]]) -> GateResult:
    """A gate is open when the mean over the seeds lies on its side; one that could not be measured is closed."""
    means = [mean_of(run[gate.metric]) for run in runs]
    known = [mean for mean in means if mean is not None]
    value = sum(known) / len(known) if known and len(known) == len(means) else None
    return GateResult(
        id=gate.id,
        statement=gate.statement,
        metric=gate.metric,
        value=value,
        direction=gate.direction,
        threshold=gate.threshold,
        open=value is not None and _beyond(value, gate.direction, gate.threshold),
    )


def judge_claim(claim: Claim, runs: Sequence[Mapping[str, Figure]], closed: Sequence[str] = ()) -> ClaimResult:
    """Judge a claim over seeds.

    Args:
        claim: what is claimed.
        runs: figures of each seed; one seed gives no interval, and its verdict is *undecided*.
        closed: ids of gates that are closed.
    """
    ours = [run[claim.metric] for run in runs]
    theirs = None if claim.baseline is None else [run[claim.baseline] for run in runs]
    means = [mean_of(figure) for figure in ours]
    baselines = None if theirs is None else [mean_of(figure) for figure in theirs]
    missing = sum(mean is None for mean in (*means, *(baselines or ())))
    shut = [gate for gate in claim.gates if gate in closed]
    interval: Interval | None = None
    verdict: Verdict
    if missing:
        verdict, reason = "missing", f"{missing} of the values could not be measured"
    else:
        about = [_difference(one, other) for one, other in zip(ours, theirs or [None] * len(ours), strict=True)]
        interval = _interval(about, claim)
        if claim.range is not None and any(not claim.range[0] <= one.mean <= claim.range[1] for one in about):
            raise SnellenError(
                f"claim {claim.id} is about values in {list(claim.range)}, and a seed gave "
                f"{next(one.mean for one in about if not claim.range[0] <= one.mean <= claim.range[1]):.4g}"
            )
        if interval is not None and claim.range is not None:
            interval = Interval(max(interval.low, claim.range[0]), min(interval.high, claim.range[1]))
        verdict, reason = _verdict(claim, about, interval)
    if shut:
        verdict, reason = "not run", f"closed: {', '.join(shut)}"
    return ClaimResult(
        id=claim.id,
        statement=claim.statement,
        source=claim.source,
        metric=claim.metric,
        ours=_mean(means),
        baseline=None if baselines is None else _mean(baselines),
        low=None if interval is None else interval.low,
        high=None if interval is None else interval.high,
        direction=claim.direction,
        threshold=claim.threshold,
        verdict=verdict,
        reason=reason,
        seeds=len(runs),
        values=tuple(means),
        baseline_values=None if baselines is None else tuple(baselines),
        images=tuple(len(figure.values) if isinstance(figure, Sample) else 0 for figure in ours),
        amended=claim.amended,
    )


class _About(NamedTuple):
    """What a claim is about in one seed: values to draw from, or two sets that are not paired."""

    values: NDArray[np.float64]
    minus: NDArray[np.float64] | None = None
    share: bool = False
    paired: bool = False

    @property
    def mean(self) -> float:
        return float(self.values.mean()) - (0.0 if self.minus is None else float(self.minus.mean()))


def _difference(ours: Figure, theirs: Figure) -> _About:
    one = np.array(ours.values if isinstance(ours, Sample) else [ours], dtype=np.float64)
    if theirs is None:
        return _About(one, share=isinstance(ours, Sample) and ours.share)
    other = np.array(theirs.values if isinstance(theirs, Sample) else [theirs], dtype=np.float64)
    if len(one) != len(other):
        return _About(one, other)
    shares = isinstance(ours, Sample) and isinstance(theirs, Sample) and ours.share and theirs.share
    return _About(one - other, share=shares, paired=True)


def _interval(about: Sequence[_About], claim: Claim) -> Interval | None:
    """The interval of what a claim is about; None for one seed, and where values do not vary."""
    if len(about) < 2:
        return None
    if all(len(one.values) == 1 and one.minus is None for one in about):
        values = [one.mean for one in about]
        return Interval(*mean_interval(values)) if len(set(values)) > 1 else None
    low, high = _bootstrap(about, claim)
    exact = _exact(about)
    if exact is not None:
        low, high = min(low, exact.low), max(high, exact.high)
    return Interval(low, high) if low < high else None


def _exact(about: Sequence[_About]) -> Interval | None:
    """Exact interval over all images where events are few: of a share, or of the difference of two paired shares."""
    if any(one.minus is not None or not one.share for one in about):
        return None
    pooled = np.concatenate([one.values for one in about])
    up, down, n = int((pooled == 1).sum()), int((pooled == -1).sum()), len(pooled)
    if min(up + down, n - up, n - down) >= FEW:
        return None
    if not down and not any(one.paired for one in about):
        return Interval(*clopper_pearson(up, n))
    # Each of the two shares at half the level, so that both bounds hold together.
    gained, lost = clopper_pearson(up, n, 1 - LEVEL), clopper_pearson(down, n, 1 - LEVEL)
    return Interval(gained.low - lost.high, gained.high - lost.low)


def _bootstrap(about: Sequence[_About], claim: Claim) -> tuple[float, float]:
    """Seeds with replacement, images within them; the draws depend on the claim alone."""
    seeds = len(about)
    rng = np.random.default_rng(int.from_bytes(hashlib.sha256(claim.id.encode()).digest()[:8]))
    chosen = rng.integers(0, seeds, (REPLICATES, seeds))
    drawn = np.zeros(REPLICATES)
    for place in range(seeds):
        for seed, one in enumerate(about):
            rows = np.flatnonzero(chosen[:, place] == seed)
            drawn[rows] += _means(one.values, len(rows), rng)
            if one.minus is not None:
                drawn[rows] -= _means(one.minus, len(rows), rng)
    centre = float(np.mean([one.mean for one in about]))
    normal = NormalDist().inv_cdf(1 - LEVEL)
    wider = student_t_quantile(1 - LEVEL, _degrees_of_freedom(about)) / normal * (seeds / (seeds - 1)) ** 0.5
    widened = centre + (drawn / seeds - centre) * wider
    low, high = np.quantile(widened, [LEVEL, 1 - LEVEL])
    return float(low), float(high)


def _degrees_of_freedom(about: Sequence[_About]) -> float:
    """Of the variance of the mean over seeds (Satterthwaite 1946): between seeds S − 1, of images within them many."""
    seeds, means = len(about), [one.mean for one in about]
    parts = [part for one in about for part in (one.values, one.minus) if part is not None and len(part) > 1]
    within = sum(float(part.var(ddof=1)) / len(part) for part in parts) / seeds**2
    images = sum(len(part) - 1 for part in parts)
    total = float(np.var(means, ddof=1)) / seeds
    between = max(total - within, 0.0)
    if not images or not within:
        return seeds - 1
    return (between + within) ** 2 / (between**2 / (seeds - 1) + within**2 / images)


def _means(values: NDArray[np.float64], count: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Means of ``count`` samples with replacement."""
    if len(values) == 1:
        return np.full(count, values[0])
    found: NDArray[np.float64] = values[rng.integers(0, len(values), (count, len(values)))].mean(1)
    return found


def _verdict(claim: Claim, about: Sequence[_About], interval: Interval | None) -> tuple[Verdict, str]:
    if interval is not None:
        against: Literal[">", "<"] = "<" if claim.direction == ">" else ">"
        near, far = (interval.low, interval.high) if claim.direction == ">" else (interval.high, interval.low)
        if _beyond(near, claim.direction, claim.threshold):
            return "holds", ""
        if _beyond(far, against, claim.threshold):
            return "fails", ""
        return "undecided", "the interval holds the threshold"
    if len(about) < 2:
        return "undecided", "one seed has no interval"
    sides = [_beyond(one.mean, claim.direction, claim.threshold) for one in about]
    if 0.5 ** len(about) >= LEVEL:
        return "undecided", f"the values do not vary, and {len(about)} seeds of one sign are too few"
    return ("holds" if all(sides) else "fails"), "the values do not vary; judged by their signs"


def _beyond(value: float, direction: str, threshold: float) -> bool:
    return value > threshold if direction == ">" else value < threshold


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if len(known) == len(values) else None
