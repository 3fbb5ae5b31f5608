"""The scaling law log L(D) = log a − k log D: fit, range, interval of k, and tests of differences.

Fan et al. (CVPR 2024): the loss of a student falls as a power of the number D of images within a range, and then
saturates. Points are left out by a rule and not by eye: the largest size goes while a parabola through the points in
log-log is significantly curved upwards (p < 0.05), as long as three sizes are left. The rule and the intervals are
ours, because the paper's code holds none.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from snellen.core.errors import InputError
from snellen.metrics.incomplete_beta import student_t_quantile
from snellen.metrics.intervals import Interval
from snellen.systems.scaling_laws.scaling_run import ScalingRun, losses_of

#: A line needs so many sizes.
LEAST_SIZES = 3

#: One-sided level of the test of curvature.
CURVATURE_LEVEL = 0.05

RESAMPLES = 1000

Values = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class PowerLaw:
    """L(D) = a D^(−k), fitted.

    Attributes:
        a: loss at one image, by extrapolation.
        k: the exponent, *scaling ability*: a doubling of D divides the loss by 2^k.
        k_interval: 95 % interval, by a bootstrap over (D, seed) cells.
        r_squared: share of the variance of log L over the used cells that the line explains.
        used: sizes that were fitted to, ascending.
        dropped: larger sizes, at which the loss saturates.
        curvature: of the parabola through the used points, in log-log; positive is upwards.
        still_curved: whether it is significantly positive with the fewest sizes that there may be.
        draws: float64 (r, 2), log a and k of each resample.
    """

    a: float
    k: float
    k_interval: Interval
    r_squared: float
    used: tuple[int, ...]
    dropped: tuple[int, ...]
    curvature: float
    still_curved: bool
    draws: Values

    @property
    def range(self) -> tuple[int, int]:
        """The measured sizes within which the law was fitted."""
        return self.used[0], self.used[-1]

    def loss(self, size: float) -> float:
        """Loss at a size, by the law."""
        return float(self.a * size**-self.k)

    def loss_interval(self, size: float) -> Interval:
        """95 % interval of the loss at a size, of the same resamples."""
        losses = np.exp(self.draws[:, 0] - self.draws[:, 1] * np.log(size))
        low, high = np.quantile(losses, [0.025, 0.975])
        return Interval(float(low), float(high))


def fit_power_law(
    runs: Sequence[ScalingRun],
    *,
    size_range: tuple[int, int] | None = None,
    index: int | None = None,
    resamples: int = RESAMPLES,
    rng: np.random.Generator,
) -> PowerLaw:
    """Fit the law by ordinary least squares in log-log.

    >>> sizes = [4, 4, 16, 16, 64, 64]
    >>> exact = [ScalingRun(config="x", size=size, seed=0, loss=8 * size**-0.5, accuracy=0) for size in sizes]
    >>> law = fit_power_law(exact, rng=np.random.default_rng(0))
    >>> round(law.a, 6), round(law.k, 6), law.used
    (8.0, 0.5, (4, 16, 64))

    Args:
        runs: of one configuration on one test set; sizes with all their seeds.
        size_range: smallest and largest size to fit to, instead of the rule of curvature.
        index: fit to the losses of this class.
        resamples: of the bootstrap.
        rng: where the resamples come from.

    Raises:
        InputError: fewer than three sizes, or losses that are not positive numbers.
    """
    sizes, losses = losses_of(runs, index)
    if size_range is not None:
        inside = (sizes >= size_range[0]) & (sizes <= size_range[1])
        sizes, losses = sizes[inside], losses[inside]
    every = np.unique(sizes)
    if len(every) < LEAST_SIZES:
        raise InputError(
            f"a power law needs at least {LEAST_SIZES} sizes, and there are {len(every)}; train on more sizes"
        )
    kept = len(every)
    while size_range is None and kept > LEAST_SIZES and curved(sizes, losses, every[:kept])[1]:
        kept -= 1
    used = sizes <= every[kept - 1]
    x, y = np.log(sizes[used]), np.log(losses[used])
    intercept, slope = _line(x, y)
    residual, spread = y - intercept - slope * x, y - y.mean()
    total = float(spread @ spread)
    draws = _resampled(x, y, resamples, rng)
    low, high = np.quantile(draws[:, 1], [0.025, 0.975])
    curvature, still = curved(sizes, losses, every[:kept])
    return PowerLaw(
        a=float(np.exp(intercept)),
        k=float(-slope),
        k_interval=Interval(float(low), float(high)),
        r_squared=1 - float(residual @ residual) / total if total > 0 else 1.0,
        used=tuple(int(size) for size in every[:kept]),
        dropped=tuple(int(size) for size in every[kept:]),
        curvature=curvature,
        still_curved=still,
        draws=draws,
    )


def curved(sizes: Values, losses: Values, kept: Values) -> tuple[float, bool]:
    """The quadratic term of a parabola in log-log, and whether it is significantly positive: the curve flattens.

    Args:
        sizes: of the cells, (n,).
        losses: of the cells, (n,), positive.
        kept: sizes to fit to.
    """
    inside = np.isin(sizes, kept)
    x, y = np.log(sizes[inside]), np.log(losses[inside])
    x = x - x.mean()
    table = np.stack([np.ones_like(x), x, x**2], axis=1)
    coefficients = np.linalg.lstsq(table, y, rcond=None)[0]
    residual, freedom = y - table @ coefficients, len(y) - 3
    term = float(coefficients[2])
    if freedom < 1:
        return term, False
    # Points that lie exactly on a line leave rounding alone, which is no curvature.
    variance = max(float(residual @ residual) / freedom, 1e-18)
    error = float(np.sqrt(variance * np.linalg.inv(table.T @ table)[2, 2]))
    return term, term / error > student_t_quantile(1 - CURVATURE_LEVEL, freedom)


def exponent_difference(
    first: Sequence[ScalingRun],
    second: Sequence[ScalingRun],
    *,
    resamples: int = RESAMPLES,
    rng: np.random.Generator,
) -> tuple[float, Interval]:
    """The exponent of the first less that of the second, on common sizes, with the 95 % interval of a bootstrap.

    The exponents differ where the interval leaves out 0. Without that test a difference is not one.

    Raises:
        InputError: fewer than three common sizes.
    """
    common = sorted({run.size for run in first} & {run.size for run in second})
    if len(common) < LEAST_SIZES:
        raise InputError(f"exponents are compared on at least {LEAST_SIZES} common sizes; there are {len(common)}")
    laws = [
        fit_power_law(
            [run for run in runs if run.size in common],
            size_range=(common[0], common[-1]),
            resamples=resamples,
            rng=rng,
        )
        for runs in (first, second)
    ]
    drawn = laws[0].draws[:, 1] - laws[1].draws[:, 1]
    low, high = np.quantile(drawn, [0.025, 0.975])
    return laws[0].k - laws[1].k, Interval(float(low), float(high))


def _line(x: Values, y: Values) -> tuple[float, float]:
    """Intercept and slope by least squares."""
    centred = x - x.mean()
    slope = float(centred @ (y - y.mean()) / (centred @ centred))
    return float(y.mean()) - slope * float(x.mean()), slope


def _resampled(x: Values, y: Values, resamples: int, rng: np.random.Generator) -> Values:
    """Log a and k of resampled cells; a resample of one size has no slope and is drawn again."""
    rows = rng.integers(0, len(x), (resamples, len(x)))
    while (flat := (x[rows] == x[rows[:, :1]]).all(axis=1)).any():
        rows[flat] = rng.integers(0, len(x), (int(flat.sum()), len(x)))
    across, up = x[rows], y[rows]
    centred = across - across.mean(axis=1, keepdims=True)
    slopes = (centred * up).sum(axis=1) / (centred**2).sum(axis=1)
    return np.stack([up.mean(axis=1) - slopes * across.mean(axis=1), -slopes], axis=1)
