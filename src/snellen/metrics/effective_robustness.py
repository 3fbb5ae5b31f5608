"""Effective robustness ρ(m) = shifted(m) − β(accuracy(m)), β a line of standard models: logit β(a) = s · logit(a) + c.

R. Taori et al., *Measuring Robustness to Natural Distribution Shifts in Image Classification* (NeurIPS 2020, arXiv
2007.00644), section 2. A model that is better in distribution is better under shift as well; ρ is what goes beyond
that. Relative robustness τ is the plain difference from another model under shift, and says nothing of the cause.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike, NDArray

from snellen.core.errors import InputError
from snellen.metrics.incomplete_beta import student_t_quantile
from snellen.metrics.intervals import Interval

#: A line through fewer models is no fit.
LEAST_MODELS = 3

#: Name of the mean over all shifts among their names.
MEAN = "mean of shifts"

RESAMPLES = 2000

#: Decisions of one model on several test sets: right or not, bool (n,) for each.
Decisions = Mapping[str, NDArray[np.bool_]]


@dataclass(frozen=True)
class Baseline:
    """What standard models of an accuracy have under shift.

    Attributes:
        slope, intercept: of the line on logit scale.
        low, high: least and highest accuracy of the models in distribution; outside, the line is extrapolated.
        models: that it was fitted to.
    """

    slope: float
    intercept: float
    low: float
    high: float
    models: int

    def expected(self, accuracy: float) -> float:
        """β: accuracy under shift of a standard model with this accuracy in distribution, in (0, 1)."""
        return float(_sigmoid(self.slope * _logit(np.clip(accuracy, 1e-9, 1 - 1e-9)) + self.intercept))

    def extrapolated(self, accuracy: float) -> bool:
        """Whether no model of the pool was as weak, or as good."""
        return not self.low <= accuracy <= self.high


def fit_baseline(in_distribution: Sequence[float], shifted: Sequence[float], *, images: tuple[int, int]) -> Baseline:
    """Fit the line by least squares on logit scale.

    >>> line = fit_baseline([0.5, 0.7, 0.9], [0.3, 0.5, 0.77], images=(1000, 1000))
    >>> round(line.slope, 2), round(line.expected(0.8), 2), line.extrapolated(0.95)
    (0.93, 0.61, True)

    Args:
        in_distribution: accuracy of each standard model, a share in [0, 1].
        shifted: accuracy of the same models under shift.
        images: n of both test sets; accuracies are clipped to [1 / 2n, 1 − 1 / 2n], where a logit is finite.

    Raises:
        InputError: fewer than three models, accuracies that are no shares, or models that are all equally good.
    """
    own, others = (np.asarray(one, dtype=np.float64) for one in (in_distribution, shifted))
    if own.ndim != 1 or own.shape != others.shape:
        raise InputError(
            f"each standard model has two accuracies; got {own.shape} in distribution and {others.shape} under shift"
        )
    if len(own) < LEAST_MODELS:
        raise InputError(
            f"effective robustness needs a line through at least {LEAST_MODELS} standard models, and there are "
            f"{len(own)}; train more of them, on parts of the data or of other widths"
        )
    both = np.concatenate([own, others])
    if not ((both >= 0) & (both <= 1)).all():
        raise InputError(f"accuracies are shares in [0, 1]; got {both[(both < 0) | ~(both <= 1)][:3].tolist()}")
    slope, intercept = _lines(_clipped(own, images[0])[None], _clipped(others, images[1])[None])
    if not np.isfinite(slope[0]):
        raise InputError(
            "the standard models are all equally good, so no line goes through them; vary their size or data"
        )
    return Baseline(float(slope[0]), float(intercept[0]), float(own.min()), float(own.max()), len(own))


@dataclass(frozen=True)
class Robustness:
    """Robustness of one kind of model under one shift, or the mean over several.

    Attributes:
        accuracy: under the shift, mean over the models of the kind.
        rho: effective robustness, in (−1, 1).
        rho_interval: 95 %, over test images and models of the kind.
        tau: accuracy under shift less that of the base; None without a base.
        tau_interval: 95 %; None without a base.
        extrapolated: whether any of the models lies outside of the pool's accuracies.
    """

    accuracy: float
    rho: float
    rho_interval: Interval
    tau: float | None
    tau_interval: Interval | None
    extrapolated: bool


def effective_robustness(
    models: Sequence[Decisions],
    pool: Sequence[Decisions],
    *,
    in_distribution: str,
    base: Sequence[Decisions] = (),
    resamples: int = RESAMPLES,
    rng: np.random.Generator,
) -> dict[str, Robustness]:
    """ρ and τ under each shift and their means, with intervals by a bootstrap over test images.

    In each resample the same images are drawn for the models, the pool and the base, and the line is fitted anew. Of
    several models of a kind (seeds of one training) these are drawn as well, and deviations are widened for few of
    them, by √(S/(S − 1)) and by Student's quantile over the normal one.

    Args:
        models: of one kind: their decisions on each test set.
        pool: standard models, at least three.
        in_distribution: name of the test set that is like the training set; all others are shifts.
        base: models that τ is relative to.
        resamples: of the bootstrap.
        rng: where they come from.

    Returns:
        By shift, and :data:`MEAN`.

    Raises:
        InputError: no model or shift; fewer than three standard models; sets or numbers of images that differ.
    """
    names = _checked([*models, *pool, *base], in_distribution, len(models))
    if len(pool) < LEAST_MODELS:
        fit_baseline([0.5] * len(pool), [0.5] * len(pool), images=(1, 1))  # says what is wrong
    drawn = {name: _accuracies([*models, *pool, *base], name, resamples, rng) for name in (in_distribution, *names)}
    count, last = len(models), len(models) + len(pool)
    which = _which(count, resamples, rng)
    bases = _which(len(base), resamples, rng)
    rhos, taus, found = dict[str, NDArray[np.float64]](), dict[str, NDArray[np.float64]](), dict[str, Robustness]()
    size = len(pool[0][in_distribution])
    for name in names:
        own, others = drawn[in_distribution], drawn[name]
        line = fit_baseline(
            own[0, count:last].tolist(), others[0, count:last].tolist(), images=(size, len(pool[0][name]))
        )
        slope, intercept = _lines(
            _clipped(own[:, count:last], size), _clipped(others[:, count:last], len(pool[0][name]))
        )
        expected = _sigmoid(slope[:, None] * _logit(_clipped(own[:, :count], size)) + intercept[:, None])
        rhos[name] = ((others[:, :count] - expected) * which).sum(1)
        shifted = (others[:, :count] * which).sum(1)
        taus[name] = shifted - (others[:, last:] * bases).sum(1)
        found[name] = _robustness(
            float(shifted[0]),
            rhos[name],
            taus[name] if base else None,
            count,
            any(line.extrapolated(one) for one in own[0, :count].tolist()),
        )
    found[MEAN] = _robustness(
        float(np.mean([one.accuracy for one in found.values()])),
        np.mean([rhos[name] for name in names], axis=0),
        np.mean([taus[name] for name in names], axis=0) if base else None,
        count,
        any(one.extrapolated for one in found.values()),
    )
    return found


def _checked(every: Sequence[Decisions], in_distribution: str, models: int) -> list[str]:
    """Names of the shifts."""
    if not models:
        raise InputError("there is no model whose robustness could be measured")
    first = every[0]
    names = [name for name in first if name != in_distribution]
    if in_distribution not in first or not names:
        raise InputError(
            f"decisions are needed on {in_distribution!r} and on at least one shifted test set; got {', '.join(first)}"
        )
    sizes = {name: len(right) for name, right in first.items()}
    other = next((one for one in every if {name: len(right) for name, right in one.items()} != sizes), None)
    if other is not None:
        raise InputError(
            f"all models are measured on the same images; got {sizes} and "
            f"{ {name: len(right) for name, right in other.items()} }"
        )
    return names


def _accuracies(every: Sequence[Decisions], name: str, resamples: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Accuracy of every model (resamples + 1, models); the first row is that of the data."""
    right = np.stack([np.asarray(one[name], dtype=np.float64) for one in every])
    images = right.shape[1]
    times = rng.multinomial(images, np.full(images, 1 / images), resamples)
    return np.concatenate([right.mean(1)[None], times @ right.T / images])


def _which(count: int, resamples: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Weights of the models of a kind in each resample (resamples + 1, models); the first row is that of the data."""
    if not count:
        return np.zeros((resamples + 1, 0))
    drawn = rng.multinomial(count, np.full(count, 1 / count), resamples) / count
    return np.concatenate([np.full((1, count), 1 / count), drawn])


def _robustness(
    accuracy: float, rho: NDArray[np.float64], tau: NDArray[np.float64] | None, models: int, extrapolated: bool
) -> Robustness:
    return Robustness(
        accuracy,
        float(rho[0]),
        _interval(rho, models),
        None if tau is None else float(tau[0]),
        None if tau is None else _interval(tau, models),
        extrapolated,
    )


def _interval(values: NDArray[np.float64], models: int) -> Interval:
    """95 %, of the value of the data and those of the resamples in which there is a line."""
    centre, drawn = values[0], values[1:][np.isfinite(values[1:])]
    if 2 * len(drawn) < len(values):
        raise InputError("in most resamples the standard models are all equally good: more test images are needed")
    wider = 1.0
    if models > 1:
        wider = float(student_t_quantile(0.975, models - 1)) / NormalDist().inv_cdf(0.975)
        wider *= (models / (models - 1)) ** 0.5
    low, high = np.quantile(centre + (drawn - centre) * wider, [0.025, 0.975])
    return Interval(max(float(low), -1.0), min(float(high), 1.0))


def _lines(own: NDArray[np.float64], others: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Slopes and intercepts of least squares on logit scale, a line for each row (r, models); NaN without a spread."""
    x, y = _logit(own), _logit(others)
    across = x - x.mean(1, keepdims=True)
    spread = (across**2).sum(1)
    with np.errstate(divide="ignore", invalid="ignore"):
        slope = np.where(spread > 1e-12, (across * y).sum(1) / spread, np.nan)
    return slope, y.mean(1) - slope * x.mean(1)


def _clipped(accuracies: NDArray[np.float64], images: int) -> NDArray[np.float64]:
    least = 1 / (2 * images)
    return np.clip(accuracies, least, 1 - least)


def _logit(share: ArrayLike) -> NDArray[np.float64]:
    values = np.asarray(share, dtype=np.float64)
    return np.log(values / (1 - values))


def _sigmoid(value: ArrayLike) -> NDArray[np.float64]:
    return 1 / (1 + np.exp(-np.asarray(value, dtype=np.float64)))


def accuracy_difference(
    first: NDArray[np.bool_],
    second: NDArray[np.bool_],
    *,
    paired: bool,
    resamples: int = RESAMPLES,
    rng: np.random.Generator,
) -> tuple[float, Interval]:
    """Accuracy of the first less that of the second, with its 95 % interval over test images and models.

    >>> value, _ = accuracy_difference(np.ones((2, 50)), np.zeros((2, 50)), paired=True, rng=np.random.default_rng(0))
    >>> value
    1.0

    Args:
        first: decisions, bool (models, images).
        second: the same of other models on the same images (paired), or of other images.
        paired: the same images are drawn for both, and models of one seed together; else both are drawn by themselves,
            but for the models, which are the same.
        resamples: of the bootstrap.
        rng: where they come from.

    Raises:
        InputError: other numbers of models, or of images where they are paired.
    """
    if first.ndim != 2 or len(first) != len(second) or (paired and first.shape != second.shape):
        raise InputError(f"decisions are (models, images), of as many models; got {first.shape} and {second.shape}")
    which = _which(len(first), resamples, rng)
    drawn = []
    times: NDArray[np.float64] | None = None
    for right in (first, second):
        images = right.shape[1]
        if times is None or not paired:
            times = np.concatenate(
                [np.ones((1, images)), rng.multinomial(images, np.full(images, 1 / images), resamples)]
            )
        drawn.append(((times @ right.astype(np.float64).T / images) * which).sum(1))
    difference = drawn[0] - drawn[1]
    return float(difference[0]), _interval(difference, len(first))
