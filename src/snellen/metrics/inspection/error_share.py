"""Are more labels wrong than the model's own mistakes explain? A test and a lower bound that spare healthy labels."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike, NDArray

from snellen.core.errors import InputError

#: Probabilities this close to a threshold reach it: means and float32 outputs are only that exact.
CLOSE = 1e-9


@dataclass(frozen=True, eq=False)
class ConfidentJoint:
    """Given labels against the labels that the classifier is confident of (Northcutt et al. 2021, section 3.1).

    A classifier is confident of class j for an image when its probability of j reaches the mean that it has over the
    images labelled j; of several such classes the most probable counts. Thresholds by class forgive a classifier that
    is too sure, or not sure enough, of a class as a whole. The images' order plays no part.

    >>> found = ConfidentJoint.of([[0.9, 0.1], [0.7, 0.3], [0.2, 0.8], [0.1, 0.9], [0.4, 0.6]], [0, 0, 0, 1, 1])
    >>> found.thresholds.round(2).tolist(), found.confident.tolist(), found.counts.tolist()
    ([0.6, 0.75], [0, 0, 1, 1, -1], [[2, 1], [0, 1]])
    >>> found.estimated_counts.tolist()  # the fifth image is spread as the other one of its label
    [[2, 1], [0, 2]]

    Attributes:
        labels: int64 (n,), as given.
        thresholds: float64 (k,), mean probability of each class over the images labelled so (equation 2); infinite for
            a class that labels no image: nothing is known of it, and nobody is confident of it.
        confident: int64 (n,), the class that each image counts for; −1 where the classifier is confident of none.
        counts: int64 (k, k), images of the row's label that count for the column's class (equation 1).
    """

    labels: NDArray[np.int64]
    thresholds: NDArray[np.float64]
    confident: NDArray[np.int64]
    counts: NDArray[np.int64]

    @classmethod
    def of(cls, probabilities: ArrayLike, labels: ArrayLike) -> ConfidentJoint:
        """Count.

        Args:
            probabilities: (n, k) in [0, 1], each row with sum 1 (to 1e-3), of a model that was not trained on these
                images.
            labels: int (n,) in 0 … k−1.

        Raises:
            InputError: wrong shapes or values, or no images.
        """
        sure, given = checked(probabilities, labels)
        n, classes = sure.shape
        own = sure[np.arange(n), given]
        support = np.bincount(given, minlength=classes)
        thresholds = np.full(classes, np.inf)
        np.divide(np.bincount(given, own, classes), support, out=thresholds, where=support > 0)
        reached = np.where(sure >= thresholds - CLOSE, sure, -1.0)
        best = reached.max(1)
        confident = np.where(best >= 0, reached.argmax(1), -1)
        # Where another class is exactly as probable, the given label has the benefit of the doubt.
        confident = np.where((best >= 0) & (reached[np.arange(n), given] >= best - CLOSE), given, confident)
        told = confident >= 0
        counts = np.bincount(given[told] * classes + confident[told], minlength=classes * classes)
        return cls(given, thresholds, confident, counts.reshape(classes, classes))

    @property
    def support(self) -> NDArray[np.int64]:
        """Images of each given label, (k,)."""
        return np.bincount(self.labels, minlength=len(self.thresholds))

    @property
    def calibrated(self) -> NDArray[np.float64]:
        """Counts scaled so that each row sums to the images of its label, (k, k) (equation 3, times n).

        A row in which the classifier is confident of nothing tells nothing, and is left as it was given.
        """
        rows = self.counts.sum(1)
        known = np.where(rows[:, None] > 0, self.counts, np.eye(len(rows), dtype=np.int64)).astype(np.float64)
        return known / np.maximum(rows, 1)[:, None] * self.support[:, None]

    @property
    def joint(self) -> NDArray[np.float64]:
        """Estimated joint distribution of given (row) and true (column) labels, (k, k), with sum 1 (equation 3)."""
        return self.calibrated / len(self.labels)

    @property
    def estimated_counts(self) -> NDArray[np.int64]:
        """:attr:`calibrated` in whole images, (k, k): errors are rounded down, and rows keep their sums.

        No error that was counted is lost, because calibration scales up.
        """
        whole = np.floor(self.calibrated + CLOSE).astype(np.int64)
        np.fill_diagonal(whole, 0)
        np.fill_diagonal(whole, self.support - whole.sum(1))
        return whole

    @property
    def prior(self) -> NDArray[np.float64]:
        """Estimated share of each true class, (k,)."""
        return self.joint.sum(0)

    @property
    def noise(self) -> NDArray[np.float64]:
        """Estimated probability of each given label (row) for each true class (column), (k, k).

        Columns sum to 1; NaN for a class that no image is estimated to have.
        """
        prior = self.prior
        return np.divide(self.joint, prior, out=np.full_like(self.joint, np.nan), where=prior > 0)


def checked(probabilities: ArrayLike, labels: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Probabilities (n, k) and labels (n,) as arrays, rows with a sum of exactly 1, or say what is wrong.

    >>> checked([[0.5, 0.5]], [1])[1].tolist()
    [1]

    Raises:
        InputError: wrong shapes or values, or no images.
    """
    sure, given = np.asarray(probabilities, dtype=np.float64), np.asarray(labels)
    if sure.ndim != 2 or sure.shape[1] < 2 or given.shape != sure.shape[:1]:
        raise InputError(f"expected probabilities (n, k), k ≥ 2, and labels (n,), got {sure.shape} and {given.shape}")
    if not len(sure):
        raise InputError("expected at least one image, got none; labels cannot be judged without")
    sums = sure.sum(1)
    # Written so that NaN fails too.
    if not (sure >= 0).all() or not (np.abs(sums - 1) <= 1e-3).all():
        raise InputError("each row of probabilities must lie in [0, 1] and sum to 1; pass a softmax, not scores")
    if given.dtype.kind not in "iu" or given.min() < 0 or given.max() >= sure.shape[1]:
        raise InputError(
            f"labels must be integers from 0 to {sure.shape[1] - 1}, got {given.dtype} from {given.min()} to "
            f"{given.max()}; leave images with unknown labels out"
        )
    return sure / sums[:, None], given.astype(np.int64)


#: Images of like confidence are counted together: the cost does not grow with the images, nor does their order matter.
GROUPS = 200

#: How fast disagreement may fall with confidence: 1 is any temperature, less a tail of confident mistakes.
SHAPES = (0.7, 1.0, 1.5, 2.0, 3.0, 5.0)

#: Share of labels that contradict any trained model however sure it is, and are not held against the labels.
TOLERATED = 0.005

_SMALLEST = 1e-12
_LARGEST_SHARE = 0.9


@dataclass(frozen=True)
class ErrorShare:
    """What :func:`estimated_error_share` finds.

    Attributes:
        n: images judged.
        disagreements: images whose label is not the class that the model ranks first.
        share: most likely share of wrong labels, in [0, 1).
        low: one-sided lower bound of that share; 0 unless the model's own mistakes are rejected as the only cause.
        high: one-sided upper bound from the same likelihood. With ``confidence=0.975`` both ends are a 95 % interval.
        p_value: one-sided, of "no more than the tolerated share is wrong, and all other disagreements are the model's
            own mistakes". Below 1 − confidence just where ``low`` is above the tolerated share.
        tolerated: that share.
        confidence: that of ``low`` and of ``high``, each.
    """

    n: int
    disagreements: int
    share: float
    low: float
    high: float
    p_value: float
    tolerated: float
    confidence: float


@dataclass(frozen=True, eq=False)
class _Groups:
    """Images by confidence: how many, how many disagree, and powers of their log odds, one row for each shape."""

    images: NDArray[np.float64]
    disagreeing: NDArray[np.float64]
    sureness: NDArray[np.float64]


def estimated_error_share(
    probabilities: ArrayLike, labels: ArrayLike, *, tolerated: float = TOLERATED, confidence: float = 0.95
) -> ErrorShare:
    """Estimate the share of wrong labels, and test whether there are any beyond the model's own mistakes.

    A model disagrees with right labels too, but the less the surer it is, whatever its calibration; wrong labels do not
    care how sure the model is, and leave a floor. With u the log odds of the model's first class (less their smallest
    possible value, −log(k − 1)), the probability of a disagreement is

        share + (1 − share) · σ(a − b · u^c),  b ≥ 0, c in :data:`SHAPES`

    and the test is that of the likelihood ratio for share = tolerated, one-sided; at 0, on the boundary, an equal
    mixture of 0 and χ²₁ (Self and Liang, JASA 82, 1987, case 5). The bound is that of the profile likelihood. Scaling
    the labels' noise into the temperature, as a calibration fitted on them alone would, is thus a rival explanation and
    not a step before: the test keeps its power, and a model that is over- or underconfident is no evidence against
    labels.

    What is assumed: images are independent; wrong labels are as frequent where the model is sure as where it is not;
    the model's mistakes become rare as it becomes sure. Where wrong labels fall on classes of which the model is
    surest, the share is that among sure images and too large for all of them (a fifth of two such classes of ten, 3.9 %
    of all labels, gave 5.6 % and a bound of 3.7 %); where they fall on classes of which it is never sure, it is too
    small or 0. Mistakes that stay frequent however sure the model is cannot be told from wrong labels; and where a
    model is never surer of one image than of another (labels only, a constant), nothing is found.

    >>> rng = np.random.default_rng(0)
    >>> sure = 1 / (1 + np.exp(-rng.uniform(0, 12, 2000)))
    >>> labels = (rng.random(2000) > sure).astype(int)
    >>> probabilities = np.stack([sure, 1 - sure], 1)
    >>> estimated_error_share(probabilities, labels).low
    0.0
    >>> labels[:200] = 1 - labels[:200]
    >>> found = estimated_error_share(probabilities, labels)
    >>> round(found.share, 2), round(found.low, 2), found.p_value < 1e-6
    (0.11, 0.1, True)

    Args:
        probabilities: (n, k) in [0, 1], each row with sum 1, of a model that was not trained on these images.
        labels: int (n,) in 0 … k−1.
        tolerated: share in [0, 0.5) that counts for nothing.
        confidence: in (0.5, 1), one-sided.

    Raises:
        InputError: wrong shapes or values, or tolerated share or confidence out of range.
    """
    if not 0.5 < confidence < 1:
        raise InputError(f"confidence lies strictly between 0.5 and 1 (0.95, say), got {confidence}")
    if not 0 <= tolerated < 0.5:
        raise InputError(f"the tolerated share lies in [0, 0.5), got {tolerated}")
    sure, given = checked(probabilities, labels)
    groups, disagreements = _grouped(sure, given)
    null, fit = _profile(0.0, groups, np.zeros((len(SHAPES), 2)))
    share, best = _most_likely(groups, fit)
    if best <= null:
        share, best = 0.0, null
    allowed = NormalDist().inv_cdf(confidence) ** 2
    ratio = max(2 * (best - _profile(tolerated, groups, fit)[0]), 0.0)
    return ErrorShare(
        n=len(sure),
        disagreements=disagreements,
        share=share,
        low=_bound(groups, fit, share, 0.0, best - allowed / 2) if 2 * (best - null) > allowed else 0.0,
        high=_bound(groups, fit, share, 1.0, best - allowed / 2),
        p_value=0.5 * math.erfc(math.sqrt(ratio / 2)) if share > tolerated else 1.0,
        tolerated=tolerated,
        confidence=confidence,
    )


def _grouped(sure: NDArray[np.float64], given: NDArray[np.int64]) -> tuple[_Groups, int]:
    n, classes = sure.shape
    first = sure.max(1)
    # Where the given label is as probable as the first class, the model does not disagree.
    disagrees = sure[np.arange(n), given] < first
    # The others are summed, because 1 − p of a sure model has no digits left.
    rest = np.sort(sure, axis=1)[:, :-1].sum(1)
    odds = np.log(np.maximum(first, _SMALLEST)) - np.log(np.maximum(rest, _SMALLEST)) + math.log(classes - 1)
    odds = np.maximum(odds, 0.0)
    # Equal odds share a group, so that ties cannot make the order matter.
    _, inverse, counts = np.unique(odds, return_inverse=True, return_counts=True)
    place = ((np.cumsum(counts) - counts) * GROUPS // n)[inverse]
    images = np.bincount(place, minlength=GROUPS).astype(np.float64)
    told = images > 0
    mean = np.bincount(place, odds, GROUPS)[told] / images[told]
    disagreeing = np.bincount(place, disagrees, GROUPS).astype(np.float64)[told]
    scale = max(float(mean.max()), _SMALLEST)
    sureness = (mean / scale)[None] ** np.array(SHAPES)[:, None]
    return _Groups(images[told], disagreeing, sureness), int(disagrees.sum())


def _profile(
    share: float, groups: _Groups, start: NDArray[np.float64], steps: int = 60
) -> tuple[float, NDArray[np.float64]]:
    """Largest log-likelihood for a share, over a, b and c; Fisher scoring for all shapes c at once, step by step."""
    fit = start.copy()
    value = _likelihood(share, groups, fit)
    damping = np.full(len(fit), 1e-6)
    stalled = 0
    for _ in range(steps):
        fall = groups.sureness
        risk = _sigmoid(fit[:, :1] - fit[:, 1:] * fall)
        chance = np.clip(share + (1 - share) * risk, _SMALLEST, 1 - _SMALLEST)
        slope = (1 - share) * risk * (1 - risk)
        pull = (groups.disagreeing - groups.images * chance) * slope / (chance * (1 - chance))
        weight = groups.images * slope**2 / (chance * (1 - chance))
        score = np.stack([pull.sum(1), -(pull * fall).sum(1)], 1)
        aa, ab, bb = weight.sum(1), -(weight * fall).sum(1), (weight * fall**2).sum(1)
        aa, bb = aa * (1 + damping) + 1e-9, bb * (1 + damping) + 1e-9
        determinant = np.maximum(aa * bb - ab**2, 1e-300)
        step = np.stack([bb * score[:, 0] - ab * score[:, 1], aa * score[:, 1] - ab * score[:, 0]], 1)
        moved = fit + np.clip(step / determinant[:, None], -5, 5)
        moved = np.stack([np.clip(moved[:, 0], -60, 60), np.clip(moved[:, 1], 0, 500)], 1)
        reached = _likelihood(share, groups, moved)
        better = reached > value
        gain = float(np.where(better, reached - value, 0).max())
        fit, value = np.where(better[:, None], moved, fit), np.where(better, reached, value)
        damping = np.where(better, damping / 10, np.maximum(damping, 1e-3) * 10)
        # A step that was too long gains nothing, and the next, shorter one may.
        stalled = stalled + 1 if gain < 1e-6 else 0
        if stalled == 4:
            break
    return float(value.max()), fit


def _likelihood(share: float, groups: _Groups, fit: NDArray[np.float64]) -> NDArray[np.float64]:
    chance = share + (1 - share) * _sigmoid(fit[:, :1] - fit[:, 1:] * groups.sureness)
    chance = np.clip(chance, _SMALLEST, 1 - _SMALLEST)
    right = groups.images - groups.disagreeing
    return (groups.disagreeing * np.log(chance) + right * np.log1p(-chance)).sum(1)


def _most_likely(groups: _Groups, fit: NDArray[np.float64]) -> tuple[float, float]:
    """Golden-section search on the square root, in which the likelihood is closest to a parabola."""
    ratio = (math.sqrt(5) - 1) / 2
    low, high = 0.0, math.sqrt(min(_LARGEST_SHARE, float(groups.disagreeing.sum() / groups.images.sum()) * 1.5))
    points = [high - ratio * (high - low), low + ratio * (high - low)]
    values = []
    for point in points:
        value, fit = _profile(point**2, groups, fit)
        values.append(value)
    for _ in range(18):
        # The better half keeps one inner point; the other is new.
        if values[0] >= values[1]:
            high, new = points[1], 0
        else:
            low, new = points[0], 1
        points[1 - new], values[1 - new] = points[new], values[new]
        points[new] = high - ratio * (high - low) if new == 0 else low + ratio * (high - low)
        values[new], fit = _profile(points[new] ** 2, groups, fit)
    chosen = int(values[1] > values[0])
    return points[chosen] ** 2, values[chosen]


def _bound(groups: _Groups, fit: NDArray[np.float64], share: float, end: float, limit: float) -> float:
    """Bisect between the likeliest share and 0 or 1 for the outermost whose profile likelihood reaches a limit."""
    outside, inside = end, share
    for _ in range(18):
        middle = (outside + inside) / 2
        value, fit = _profile(middle, groups, fit)
        if value >= limit:
            inside = middle
        else:
            outside = middle
    # The side that is too far: the bound stays a bound.
    return outside


def _sigmoid(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return 0.5 * (1 + np.tanh(values / 2))
