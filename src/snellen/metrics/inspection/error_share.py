"""Are more labels wrong than the model's own mistakes explain? A test and a lower bound that spare healthy labels."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import scipy
from numpy.typing import ArrayLike, NDArray

from snellen.core.errors import InputError
from snellen.metrics.inspection.confident_joint import checked

#: Images of like confidence that agree are counted together: the cost does not grow with them.
GROUPS = 200

#: How fast disagreement may fall with confidence: 1 is any temperature, less a tail of confident mistakes.
SHAPES = (0.7, 1.0, 1.5, 2.0, 3.0, 5.0)

#: How closely a mistake may follow the probabilities of the other classes: 0 not at all, 1 as stated.
SHARPNESS = (0.0, 0.2, 0.4, 0.7, 1.0, 1.4, 2.0)

#: What wrong labels may be like: any other class (0), or the class that the model's own mistakes fall on (1).
LIKENESS = (0.0, 1.0)

#: Share of labels that contradict any trained model however sure it is, and are not held against the labels.
TOLERATED = 0.005

#: Shares at which the likelihood is computed; between them it is interpolated.
SHARES = (
    0.0,
    0.0025,
    0.0075,
    0.01,
    0.014,
    0.02,
    0.027,
    0.036,
    0.048,
    0.065,
    0.09,
    0.12,
    0.17,
    0.25,
    0.36,
    0.5,
    0.7,
    0.9,
)

_SMALLEST = 1e-12

#: Shares at which shapes are compared first, and how far in log-likelihood a shape may lie behind and still count.
_FIRST, _BEHIND = (0.0, 0.01, 0.05), 6.0

#: Further than this behind the best, in log-likelihood, no bound of interest lies.
_FAR = 25.0


@dataclass(frozen=True, eq=False)
class ErrorShare:
    """What :func:`estimated_error_share` finds.

    Attributes:
        n: images judged.
        disagreements: images whose label is not the class that the model ranks first.
        share: most likely share of wrong labels, in [0, 1), by the test with the smallest p value.
        p_value: one-sided, of "no more than the tolerated share is wrong, and all other disagreements are the model's
            own mistakes": the smaller of both tests.
        tolerated: that share.
        wrong: (n,), probability of each label to be wrong at the most likely share; 0 where the model agrees.
        shares: shares (m,), ascending.
        likelihoods: profile log-likelihoods of each test (t, m), rising up to the best and falling from there.
    """

    n: int
    disagreements: int
    share: float
    p_value: float
    tolerated: float
    wrong: NDArray[np.float64]
    shares: NDArray[np.float64]
    likelihoods: NDArray[np.float64]

    @property
    def anywhere(self) -> bool:
        """Whether wrong labels of any class explain the labels at least as well as those where the model errs."""
        return bool(self.likelihoods[0].max() >= self.likelihoods[-1].max())

    def lower(self, confidence: float = 0.95) -> float:
        """One-sided lower bound of the share: above the tolerated share just where the p value is below 1 − confidence.

        Raises:
            InputError: the confidence does not lie strictly between 0.5 and 1.
        """
        return max(low for low, _ in self._bounds(confidence))

    def upper(self, confidence: float = 0.95) -> float:
        """One-sided upper bound. With ``confidence=0.975`` both ends are a 95 % interval.

        Raises:
            InputError: the confidence does not lie strictly between 0.5 and 1.
        """
        return max(high for _, high in self._bounds(confidence))

    def _bounds(self, confidence: float) -> list[tuple[float, float]]:
        if not 0.5 < confidence < 1:
            raise InputError(f"confidence lies strictly between 0.5 and 1 (0.95, say), got {confidence}")
        from scipy.interpolate import PchipInterpolator  # imported when it is needed: it takes as long as all of ours

        allowed = NormalDist().inv_cdf(confidence) ** 2 / 2
        roots = np.sqrt(self.shares)
        places = np.union1d(np.linspace(0, roots[-1], 4001), roots)
        bounds = []
        for likelihoods in self.likelihoods:
            inside = places[PchipInterpolator(roots, likelihoods)(places) >= likelihoods.max() - allowed]
            bounds.append((float(inside[0]) ** 2, float(inside[-1]) ** 2))
        return bounds


def estimated_error_share(probabilities: ArrayLike, labels: ArrayLike, *, tolerated: float = TOLERATED) -> ErrorShare:
    """Estimate the share of wrong labels, and test whether there are any beyond the model's own mistakes.

    A model disagrees with right labels too. But it does so the less the surer it is, and then the label is seldom a
    class that it thinks improbable. Wrong labels do not care how sure the model is. With u the log odds of the model's
    first class (less their smallest possible value, −log(k − 1)), a label is another class j with the probability

        share · h_j + (1 − share) · σ(a − b · u^c) · f_j,  f_j = (1 − w) · p_j^s / Σ p^s + w / (k − 1)

    where the sum runs over all but the first class, b ≥ 0, c is in :data:`SHAPES` and s in :data:`SHARPNESS`. Wrong
    labels are any other class alike (h_j = 1 / (k − 1)), or fall where the model's own mistakes fall (h = f, a floor of
    disagreement alone). For each there is a test, that of the likelihood ratio for a share up to the tolerated one,
    one-sided, and bounds, those of the profile likelihood; the smaller p value and the higher bounds count. The two
    tests say so much the same that this holds the level (``docs/wrong-labels.md``). Scaling the labels' noise into the
    temperature, as a calibration fitted on them alone would, is thus a rival explanation and not a step before: the
    test keeps its power, and a model that is over- or underconfident is no evidence against labels.

    What is assumed: images are independent; wrong labels are as frequent where the model is sure as where it is not;
    the model's mistakes become rare as it becomes sure. Where wrong labels fall on the classes that the model is surest
    of, the share is that among sure images and too large for all of them; where they fall on images that it is never
    sure of, it is too small or 0. Mistakes that stay frequent however sure the model is cannot be distinguished from
    wrong labels; and where a model is never surer of one image than of another (labels only, a constant), nothing is
    found.

    >>> rng = np.random.default_rng(0)
    >>> sure = 1 / (1 + np.exp(-rng.uniform(0, 12, 2000)))
    >>> labels = (rng.random(2000) > sure).astype(int)
    >>> probabilities = np.stack([sure, 1 - sure], 1)
    >>> estimated_error_share(probabilities, labels).lower()
    0.0
    >>> labels[:200] = 1 - labels[:200]
    >>> found = estimated_error_share(probabilities, labels)
    >>> round(found.share, 2), round(found.lower(), 2), found.p_value < 1e-6
    (0.1, 0.08, True)

    Args:
        probabilities: (n, k) in [0, 1], each row with sum 1, of a model that was not trained on these images.
        labels: int (n,) in 0 … k−1.
        tolerated: share in [0, 0.5) that counts for nothing.

    Raises:
        InputError: wrong shapes or values, or tolerated share out of range.
    """
    if not 0 <= tolerated < 0.5:
        raise InputError(f"the tolerated share lies in [0, 0.5), got {tolerated}")
    sure, given = checked(probabilities, labels)
    seen = _seen(sure, given)
    likeness = LIKENESS if sure.shape[1] > 2 else LIKENESS[1:]
    shares = np.union1d(SHARES, [tolerated])
    held = int(np.flatnonzero(shares == tolerated)[0])
    curves, fits = zip(*(_curve(seen, shares, kind) for kind in likeness), strict=True)
    likelihoods = np.stack([_one_peak(curve) for curve in curves])
    ratios = 2 * (likelihoods.max(1) - likelihoods[:, held]) * (likelihoods.argmax(1) > held)
    # Of tests that say the same, the likelier explanation.
    best = max(range(len(likeness)), key=lambda kind: (ratios[kind], likelihoods[kind].max()))
    top, ratio = int(likelihoods[best].argmax()), float(ratios[best])
    wrong = np.zeros(len(sure))
    wrong[seen.rows] = _suspicion(float(shares[top]), likeness[best], seen, fits[best][top])
    return ErrorShare(
        n=len(sure),
        disagreements=len(seen.rows),
        share=_peak(np.sqrt(shares), likelihoods[best]) ** 2,
        p_value=0.5 * math.erfc(math.sqrt(ratio / 2)) if ratio > 0 else 1.0,
        tolerated=tolerated,
        wrong=wrong,
        shares=shares,
        likelihoods=likelihoods,
    )


def expected_ratio(probabilities: ArrayLike, labels: ArrayLike, share: float, *, tolerated: float = TOLERATED) -> float:
    """Likelihood ratio, at least 0, of a known share of labels replaced by any other class over the tolerated share.

    Raises:
        InputError: wrong shapes or values.
    """
    seen = _seen(*checked(probabilities, labels))
    likeness = LIKENESS[0] if seen.classes > 2 else LIKENESS[1]
    held, fit = _profile(tolerated, likeness, seen, _candidates(seen), steps=20)
    near = held > held.max() - _BEHIND
    planted, _ = _profile(share, likeness, seen, (fit[0][near], fit[1][near], fit[2][near]), steps=20)
    return max(2 * float(planted.max() - held.max()), 0.0)


@dataclass(frozen=True, eq=False)
class _Seen:
    """What the likelihood needs: images that agree, by confidence, and each that does not.

    ``agreeing`` (g,) counts images, ``sureness`` (g,) is their mean scaled log odds. Of those that disagree, ``rows``
    (m,) are their positions, ``doubted`` (m,) their scaled log odds, ``plausible`` (s, m) the stated probability of the
    label among all but the first class, by sharpness.
    """

    agreeing: NDArray[np.float64]
    sureness: NDArray[np.float64]
    rows: NDArray[np.int64]
    doubted: NDArray[np.float64]
    plausible: NDArray[np.float64]
    classes: int


#: One candidate explanation in each row: positions in SHAPES and in SHARPNESS, and a, b and w.
_Fit = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]


def _seen(sure: NDArray[np.float64], given: NDArray[np.int64]) -> _Seen:
    n, classes = sure.shape
    first = sure.max(1)
    # Where the given label is as probable as the first class, the model does not disagree.
    differs = sure[np.arange(n), given] < first
    # The others are summed, because 1 − p of a sure model has no digits left.
    rest = np.sort(sure, axis=1)[:, :-1].sum(1)
    odds = np.log(np.maximum(first, _SMALLEST)) - np.log(np.maximum(rest, _SMALLEST)) + math.log(classes - 1)
    odds = np.maximum(odds, 0.0)
    # Equal odds share a group, so that ties cannot make the order matter.
    _, inverse, counts = np.unique(odds, return_inverse=True, return_counts=True)
    place = ((np.cumsum(counts) - counts) * GROUPS // n)[inverse]
    images = np.bincount(place, minlength=GROUPS)
    mean = np.bincount(place, odds, GROUPS) / np.maximum(images, 1)
    # Odds that all but equal the smallest differ by rounding, and are no confidence.
    mean /= max(float(mean.max()), 1e-3)
    agreeing = np.bincount(place[~differs], minlength=GROUPS).astype(np.float64)
    rows = np.flatnonzero(differs)
    logs = np.log(np.maximum(sure[rows], _SMALLEST))
    own = logs[np.arange(len(rows)), given[rows]]
    other = np.arange(classes) != logs.argmax(1)[:, None]
    others = [own * sharp - scipy.special.logsumexp(sharp * logs, axis=1, b=other) for sharp in SHARPNESS]
    # Of two classes there is but one other, however sharp.
    plausible = np.exp(np.array(others)) if classes > 2 else np.ones((1, len(rows)))
    covered = agreeing > 0
    return _Seen(agreeing[covered], mean[covered], rows, mean[place[rows]], plausible, classes)


def _candidates(seen: _Seen) -> _Fit:
    shapes, sharp = np.meshgrid(np.arange(len(SHAPES)), np.arange(len(seen.plausible)), indexing="ij")
    start = np.tile([-1.0, 0.0, 0.1], (shapes.size, 1))
    return shapes.ravel(), sharp.ravel(), start


def _curve(seen: _Seen, shares: NDArray[np.float64], likeness: float) -> tuple[NDArray[np.float64], list[_Fit]]:
    """Profile log-likelihood of each share, and the best explanation at each."""
    fit = _first(seen, likeness)
    values, best = np.full(len(shares), -np.inf), [_only(fit, 0)] * len(shares)
    for place, share in enumerate(shares.tolist()):
        likelihood, fit = _profile(share, likeness, seen, fit, steps=15)
        values[place] = likelihood.max()
        best[place] = _only(fit, int(likelihood.argmax()))
        if values[place] < values.max() - _FAR:
            break
    # Where no bound can lie, the curve keeps falling.
    missing = ~np.isfinite(values)
    values[missing] = values[~missing][-1] - np.arange(1, missing.sum() + 1)
    return values, best


def _first(seen: _Seen, likeness: float) -> _Fit:
    """The explanations that come near the best at a few shares; the others are not tried again."""
    fit = _candidates(seen)
    near, start = np.zeros(len(fit[0]), dtype=np.bool_), fit
    for number, share in enumerate(_FIRST):
        values, fit = _profile(share, likeness, seen, fit, steps=30)
        start = start if number else fit
        near |= values > values.max() - _BEHIND
    return start[0][near], start[1][near], start[2][near]


def _only(fit: _Fit, row: int) -> _Fit:
    return fit[0][row : row + 1], fit[1][row : row + 1], fit[2][row : row + 1]


def _fixed(seen: _Seen, fit: _Fit) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """What no step changes: shaped log odds of both kinds of images, (c, g) and (c, m), and ``plausible`` (c, m)."""
    shapes = np.array(SHAPES)[:, None]
    return (seen.sureness**shapes)[fit[0]], (seen.doubted**shapes)[fit[0]], seen.plausible[fit[1]]


def _parts(
    share: float,
    likeness: float,
    even: float,
    fixed: tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]],
    values: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Risk of those that agree (c, g), of those that do not (c, m), f and the probability of the label (c, m) each."""
    sureness, doubted, plausible = fixed
    risk = scipy.special.expit(values[:, :1] - values[:, 1:2] * sureness)
    doubt = scipy.special.expit(values[:, :1] - values[:, 1:2] * doubted)
    mistakes = (1 - values[:, 2:]) * plausible + values[:, 2:] * even
    chance = mistakes * ((1 - share) * doubt + share * likeness) + share * (1 - likeness) * even
    return risk, doubt, mistakes, np.maximum(chance, _SMALLEST)


def _likelihood(
    share: float, seen: _Seen, risk: NDArray[np.float64], chance: NDArray[np.float64]
) -> NDArray[np.float64]:
    agreed = np.log(np.maximum((1 - share) * (1 - risk), _SMALLEST)) @ seen.agreeing
    return agreed + np.log(chance).sum(1)


def _profile(share: float, likeness: float, seen: _Seen, fit: _Fit, steps: int) -> tuple[NDArray[np.float64], _Fit]:
    """Largest log-likelihood for a share, over a, b and w, for all explanations at once.

    Each step is Newton's for a and b, and that of expectation and maximisation for w, with the labels' cause (wrong
    label or mistake) as what is missing (Lange, JRSS B 57, 1995); damped where it would not rise.
    """
    fixed, even = _fixed(seen, fit), 1 / (seen.classes - 1)
    sureness, doubted, _ = fixed
    squared, doubted_squared = sureness**2, doubted**2
    parts = _parts(share, likeness, even, fixed, fit[2])
    value = _likelihood(share, seen, parts[0], parts[3])
    damping, stalled = np.full(len(value), 1e-6), 0
    for _ in range(steps):
        risk, doubt, mistakes, chance = parts
        own = (1 - share) * doubt * mistakes / chance
        pull, shift = own * (1 - doubt), seen.agreeing * risk
        score_a = pull.sum(1) - shift.sum(1)
        score_b = (shift * sureness).sum(1) - (pull * doubted).sum(1)
        weight, other = shift * (1 - risk), own * doubt * (1 - doubt)
        aa, ab = weight.sum(1) + other.sum(1), -(weight * sureness).sum(1) - (other * doubted).sum(1)
        bb = (weight * squared).sum(1) + (other * doubted_squared).sum(1)
        aa, bb = aa * (1 + damping) + 1e-9, bb * (1 + damping) + 1e-9
        determinant = np.maximum(aa * bb - ab**2, 1e-300)
        step = np.stack([bb * score_a - ab * score_b, aa * score_b - ab * score_a], 1) / determinant[:, None]
        # Where b would leave its bound, a moves alone: half of the joint step may lead down.
        bound = (fit[2][:, 1] <= 0) & (step[:, 1] < 0)
        step = np.where(bound[:, None], np.stack([score_a / aa, np.zeros_like(aa)], 1), step)
        moved = fit[2].copy()
        moved[:, :2] += np.clip(step, -5, 5)
        moved[:, 0], moved[:, 1] = np.clip(moved[:, 0], -60, 60), np.clip(moved[:, 1], 0, 500)
        alike = mistakes * ((1 - share) * doubt + share * likeness) / chance
        anyhow = (alike * moved[:, 2:] * even / np.maximum(mistakes, _SMALLEST)).sum(1)
        # A thousandth of an image keeps w off its ends, from which no step leads away.
        moved[:, 2] = (anyhow + 1e-3) / (alike.sum(1) + 2e-3)
        reached = _parts(share, likeness, even, fixed, moved)
        fresh = _likelihood(share, seen, reached[0], reached[3])
        better = fresh > value
        gain = float(np.where(better, fresh - value, 0).max())
        fit = fit[0], fit[1], np.where(better[:, None], moved, fit[2])
        for old, new in zip(parts, reached, strict=True):
            old[better] = new[better]
        value = np.where(better, fresh, value)
        damping = np.where(better, damping / 10, np.maximum(damping, 1e-3) * 10)
        # A step that was too long gains nothing, and the next, shorter one may.
        stalled = stalled + 1 if gain < 1e-3 else 0
        if stalled == 3:
            break
    return value, fit


def _suspicion(share: float, likeness: float, seen: _Seen, fit: _Fit) -> NDArray[np.float64]:
    """Probability that each label that disagrees is wrong, (m,)."""
    _, doubt, mistakes, chance = _parts(share, likeness, 1 / (seen.classes - 1), _fixed(seen, fit), fit[2])
    suspicion: NDArray[np.float64] = (1 - (1 - share) * doubt * mistakes / chance)[0]
    return np.clip(suspicion, 0.0, 1.0)


def _one_peak(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """The same, never falling before the best and never rising after it: a bound is that of all smaller shares."""
    top = int(values.argmax())
    rising = np.maximum.accumulate(values[: top + 1])
    falling = np.maximum.accumulate(values[top:][::-1])[::-1]
    return np.concatenate([rising, falling[1:]])


def _peak(places: NDArray[np.float64], values: NDArray[np.float64]) -> float:
    """Where the parabola through the best value and its neighbours has its top."""
    top = int(values.argmax())
    if top in (0, len(values) - 1):
        return float(places[top])
    near = slice(top - 1, top + 2)
    bend, slope, _ = np.polyfit(places[near] - places[top], values[near], 2)
    return (
        float(np.clip(places[top] - slope / (2 * bend), places[top - 1], places[top + 1]))
        if bend < 0
        else float(places[top])
    )
