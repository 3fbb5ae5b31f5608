"""A support vector machine on one number, with a Gaussian kernel: min ½ αᵀQα − Σ α, 0 ≤ α ≤ C, yᵀα = 0.

Cortes and Vapnik, "Support-vector networks", Machine Learning 20, 1995; solved two multipliers at a time, chosen by
second-order information: Fan, Chen and Lin, "Working set selection using second order information for training support
vector machines", JMLR 6, 2005, section 2.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from snellen.core.errors import InputError

Floats = NDArray[np.float64]

#: A solution is accepted when no pair violates the conditions of optimality by more.
TOLERANCE = 1e-3

#: Steps after which a machine that does not converge is taken as it is, with a warning: 100 a number, at least so many.
FEWEST_STEPS = 10_000

#: Replaces a curvature that is not positive.
_FLAT = 1e-12


@dataclass(frozen=True, eq=False)
class ScalarSVM:
    """A fitted machine.

    Attributes:
        points: numbers that it was fitted to, float64 (n,).
        multipliers: y α of each, float64 (n,).
        offset: b, so that a number x is positive where Σ y α K(x, x_i) + b > 0.
        gamma: of the kernel exp(−γ (x − y)²).
    """

    points: Floats
    multipliers: Floats
    offset: float
    gamma: float

    def decide(self, values: ArrayLike) -> Floats:
        """Value of the decision function for each of m numbers, float64 (m,); positive: of the class ``True``."""
        given = np.asarray(values, dtype=np.float64)
        return _kernel(given, self.points, self.gamma) @ self.multipliers + self.offset


def fit_scalar_svm(values: ArrayLike, positive: ArrayLike, *, penalty: float = 3.0, gamma: float = 1.0) -> ScalarSVM:
    """Fit to numbers of two classes.

    >>> machine = fit_scalar_svm([0.1, 0.2, 0.8, 0.9], [False, False, True, True])
    >>> (machine.decide([0.0, 1.0]) > 0).tolist()
    [False, True]

    Args:
        values: finite numbers (n,); time and memory grow with n².
        positive: bool (n,), with both classes.
        penalty: C > 0.
        gamma: γ > 0 of the kernel; 1 is ``gamma="auto"`` of scikit-learn for one number.

    Raises:
        InputError: wrong shapes or values, or one class only.
    """
    points, truth = np.asarray(values, dtype=np.float64), np.asarray(positive)
    if points.ndim != 1 or truth.shape != points.shape or not np.isfinite(points).all():
        raise InputError(f"values and classes must be (n,), values finite; got {points.shape} and {truth.shape}")
    signs = np.where(truth.astype(bool), 1.0, -1.0)
    if penalty <= 0 or gamma <= 0 or abs(signs.sum()) == len(signs):
        raise InputError("a support vector machine needs both classes, and a penalty and a gamma above 0")
    kernel = _kernel(points, points, gamma)
    alpha, gradient = np.zeros(len(points)), -np.ones(len(points))
    most = max(FEWEST_STEPS, 100 * len(points))
    for _ in range(most):
        pair = _violating_pair(kernel, signs, alpha, gradient, penalty)
        if pair is None:
            break
        _solve_pair(*pair, kernel, signs, alpha, gradient, penalty)
    else:
        warnings.warn(
            f"a support vector machine on {len(points)} numbers did not converge within {most} steps; a smaller "
            f"penalty than {penalty:g} helps",
            stacklevel=2,
        )
    return ScalarSVM(points, signs * alpha, _offset(signs, alpha, gradient, penalty), gamma)


def _kernel(first: Floats, second: Floats, gamma: float) -> Floats:
    found: Floats = np.exp(-gamma * (first[:, None] - second[None, :]) ** 2)
    return found


def _violating_pair(
    kernel: Floats, signs: Floats, alpha: Floats, gradient: Floats, penalty: float
) -> tuple[int, int] | None:
    """The pair that gains most by second order; None at the optimum."""
    score = -signs * gradient
    up = np.where(signs > 0, alpha < penalty, alpha > 0)
    low = np.where(signs > 0, alpha > 0, alpha < penalty)
    first = int(np.argmax(np.where(up, score, -np.inf)))
    most = score[first]
    gap = most - score
    if not low.any() or gap[low].max() < TOLERANCE:
        return None
    curvature = np.maximum(2.0 - 2.0 * kernel[first], _FLAT)
    gain = np.where(low & (gap > 0), gap**2 / curvature, -np.inf)
    return first, int(np.argmax(gain))


def _solve_pair(
    first: int, second: int, kernel: Floats, signs: Floats, alpha: Floats, gradient: Floats, penalty: float
) -> None:
    """Move along the only direction that keeps yᵀα, as far as the gain and the bounds allow; in place."""
    curvature = max(2.0 - 2.0 * kernel[first, second], _FLAT)
    step = (-signs[first] * gradient[first] + signs[second] * gradient[second]) / curvature
    room = [penalty - alpha[first] if signs[first] > 0 else alpha[first]]
    room.append(alpha[second] if signs[second] > 0 else penalty - alpha[second])
    step = min(step, *room)
    for row, change in ((first, signs[first] * step), (second, -signs[second] * step)):
        alpha[row] = min(max(alpha[row] + change, 0.0), penalty)
        gradient += signs * signs[row] * kernel[:, row] * change


def _offset(signs: Floats, alpha: Floats, gradient: Floats, penalty: float) -> float:
    """b: the mean over multipliers inside the bounds; the middle of what the bounds allow where there are none."""
    score, free = -signs * gradient, (alpha > 0) & (alpha < penalty)
    if free.any():
        return float(score[free].mean())
    up = np.where(signs > 0, alpha < penalty, alpha > 0)
    return float((score[up].max() + score[~up].min()) / 2) if up.any() and not up.all() else 0.0
