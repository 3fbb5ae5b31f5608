"""How many images an interval, a gate or a comparison of accuracies needs, and what a number of images can show.

Everything here is about the procedures that the audit uses: Wilson's interval with an effective number of images
(:func:`snellen.metrics.clustered.clustered_share`), gates on its lower end, McNemar's exact test, and Student's t of
differences. A plan for other intervals would promise what these do not keep.

The design effect of units of m images with the correlation ρ within a unit is 1 + (m − 1) ρ (Kish, Survey Sampling,
1965). Notation below: n images, G units, p the true accuracy, b a bound, ψ the share of images on which just one of two
models is right, δ the difference of their accuracies.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from snellen.core.errors import InputError
from snellen.metrics.incomplete_beta import student_t_quantile
from snellen.metrics.non_inferiority import restricted_disagreement
from snellen.metrics.unit_jackknife import effective_units, unit_influence, unit_sums

#: Level of every one-sided test here: an end of a 95 % interval.
ALPHA = 0.025

#: Standard errors from an estimate to an end of its 95 % interval.
Z = NormalDist().inv_cdf(1 - ALPHA)

#: Number of images beyond which a plan is refused.
MOST = 100_000_000

#: Numbers of images up to which distributions are summed exactly.
_EXACT = 50_000

#: Numbers of images on either side of the one that was found, within which the power may fall below its aim again.
_SAW = 400


@dataclass(frozen=True)
class UnitDesign:
    """How images come in units.

    Attributes:
        size: images of a unit, on average; of unequal units Σ n² / Σ n. 1: each image is a unit.
        correlation: of right decisions within a unit, in [0, 1].

    Raises:
        InputError: a size below 1, or a correlation outside of [0, 1].
    """

    size: float = 1.0
    correlation: float = 0.0

    def __post_init__(self) -> None:
        if not 1 <= self.size < math.inf:
            raise InputError(f"a unit has 1 image or more on average, got {self.size:g}")
        if not 0 <= self.correlation <= 1:
            raise InputError(f"the correlation within a unit lies from 0 to 1, got {self.correlation:g}")

    @property
    def effect(self) -> float:
        """How many images of such units say as much as one independent image.

        >>> UnitDesign(8, 0.3).effect
        3.1
        """
        return 1 + (self.size - 1) * self.correlation

    def units(self, images: float) -> int:
        """Number of units that so many images make."""
        return math.ceil(images / self.size - 1e-9)

    def counted(self, images: float, variance: float) -> float:
        """Independent images that the audit's interval for a share counts, for a variance p (1 − p) of one image.

        The audit estimates the design effect, with one image's worth of belief that images of a unit are alike, and
        takes Student's quantile for few units.
        """
        if self.size == 1:
            return images
        units = max(images / self.size, 2.0)
        believed = max((images * variance * self.effect + self.size) / (images * variance + 1), 1.0)
        tail = 1 - ALPHA
        few = student_t_quantile(tail, max(images - 1, 1.0)) / student_t_quantile(tail, max(units - 1, 1.0))
        return images / believed * few**2


#: Every image is a unit.
INDEPENDENT = UnitDesign()


def estimated_design(values: NDArray[np.float64], codes: NDArray[np.int64] | None) -> UnitDesign:
    """The design of images that were measured.

    The correlation is (V / B − 1) / (m − 1), where V is the jackknife's variance of the mean over units, B that of
    independent images and m = Σ n² / Σ n; negative values, which are mostly chance, count as 0.

    >>> estimated_design(np.array([1.0, 1, 0, 0, 1, 1, 0, 0]), np.array([0, 0, 1, 1, 2, 2, 3, 3])).correlation
    1.0
    >>> estimated_design(np.ones(3), None)
    UnitDesign(size=1.0, correlation=0.0)

    Args:
        values: (n,), such as right decisions as 0 and 1.
        codes: (n,), unit of each; None: each image is a unit.
    """
    if codes is None:
        return INDEPENDENT
    sums, sizes = unit_sums(np.asarray(values, dtype=np.float64), codes)
    sums, sizes = sums[sizes > 0], sizes[sizes > 0]
    size = float((sizes**2).sum() / sizes.sum())
    n, mean = sizes.sum(), float(np.mean(values))
    independent = float(((values - mean) ** 2).sum()) / n / max(n - 1, 1)
    if size == 1 or len(sizes) < 2 or independent == 0:
        return UnitDesign(size, 0.0)
    # Divided by G − 1 and not by G: unit_influence is that of the jackknife, which does so.
    dependent = float((unit_influence(sums, sizes, mean) ** 2).sum())
    few = effective_units(sizes)
    correlation = (dependent / independent * (1 - 1 / few) * few / (few - 1) - 1) / (size - 1)
    return UnitDesign(size, min(max(correlation, 0.0), 1.0))


def interval_width(images: int, accuracy: float, design: UnitDesign = INDEPENDENT) -> float:
    """Width of the 95 % interval of an accuracy that a number of images gives on average.

    >>> round(interval_width(1000, 0.9), 4), round(interval_width(1000, 0.9, UnitDesign(8, 0.3)), 4)
    (0.0372, 0.0666)

    Args:
        images: n, from 1 on.
        accuracy: the true one, in [0, 1].
        design: how images come in units.
    """
    counted = design.counted(images, accuracy * (1 - accuracy))
    shares, weights = _shares(max(images / design.effect, 1.0), accuracy)
    square = Z * Z / counted
    widths = 2 * Z / (1 + square) * np.sqrt(shares * (1 - shares) / counted + square / (4 * counted))
    # Where nothing, or everything, is right the interval ends at 0 or 1, and is as wide as its formula says.
    return float(np.minimum(widths, 1.0) @ weights)


def images_for_width(width: float, accuracy: float, design: UnitDesign = INDEPENDENT) -> int:
    """Fewest images whose 95 % interval of an accuracy is on average no wider than this.

    >>> images_for_width(0.04, 0.9)
    865

    Args:
        width: of the whole interval, in (0, 1).
        accuracy: the true one. design: how images come in units.
    """
    _check(width, "the width of an interval", 0, 1)
    return _fewest(lambda images: interval_width(images, accuracy, design) <= width, f"an interval of {width:g}")


def gate_power(
    images: int, accuracy: float, bound: float, design: UnitDesign = INDEPENDENT, *, upper: bool = False
) -> float:
    """How often a gate on the end of the interval passes: P(lower end ≥ b) for a true accuracy p.

    Wilson's lower end is b or more just when p̂ ≥ b + z √(b (1 − b) / n). Of independent images the count is binomial,
    and the power exact.

    >>> round(gate_power(870, 0.92, 0.9), 3), round(gate_power(870, 0.92, 0.9, UnitDesign(8, 0.3)), 3)
    (0.502, 0.165)

    Args:
        images: n. accuracy: the true one. bound: b, in (0, 1). design: how images come in units.
        upper: the gate requires that the share is at most b, by the upper end.
    """
    _check(bound, "the bound of a gate on a share", 0, 1)
    if upper:
        return gate_power(images, 1 - accuracy, 1 - bound, design)
    from scipy.special import betainc
    from scipy.stats import binom

    if design.size == 1:
        least = math.ceil(images * bound + Z * math.sqrt(images * bound * (1 - bound)) - 1e-9)
        return float(binom.sf(least - 1, images, accuracy))
    counted = design.counted(images, bound * (1 - bound))
    true = max(images / design.effect, 1.0)
    # Between the whole numbers, half a step above the threshold stands for the next one, on average.
    least_share = bound + Z * math.sqrt(bound * (1 - bound) / counted)
    count = true * least_share + 0.5
    return 0.0 if count >= true + 0.5 else float(betainc(count, true - count + 1, accuracy))


def images_for_gate(
    accuracy: float, bound: float, power: float, design: UnitDesign = INDEPENDENT, *, upper: bool = False
) -> int:
    """Fewest images from which on a gate passes with this power, which rises in a saw tooth: its last dip counts.

    >>> images_for_gate(0.92, 0.9, 0.9)
    2239

    Raises:
        InputError: the true accuracy does not lie beyond the bound, so that no number of images is enough.
    """
    _check(power, "the power", 0, 1)
    if (accuracy >= bound) if upper else (accuracy <= bound):
        side = "below" if upper else "above"
        raise InputError(
            f"a model of accuracy {accuracy:g} does not pass a gate at {bound:g} however many images there are; name "
            f"an accuracy {side} {bound:g}"
        )

    def passes(images: int) -> bool:
        return gate_power(images, accuracy, bound, design, upper=upper) >= power

    found = _fewest(passes, f"a gate at {bound:g}")
    for images in range(found + _SAW, found, -1):
        if not passes(images):
            return images + 1
    return found


def paired_power(images: int, difference: float, disagreement: float, design: UnitDesign = INDEPENDENT) -> float:
    """How often McNemar's exact test finds a difference of two models on the same images, one-sided at 2.5 %.

    The number of images on which just one is right is Binomial(n, ψ), and of these the better one is right in
    (ψ + δ) / 2ψ (Connor, Biometrics 43, 1987, 207–211, by exact summation). Units take n as n over the design effect of
    the differences.

    >>> round(paired_power(1000, 0.02, 0.06), 3)
    0.702

    Args:
        images: n. difference: δ > 0. disagreement: ψ ≥ δ, in (0, 1]. design: of the differences.
    """
    _check_pair(difference, disagreement)
    from scipy.stats import binom

    true = max(images / design.effect, 1.0)
    if true > _EXACT / max(disagreement, 1e-9):
        error = math.sqrt((disagreement - difference**2) / true)
        return NormalDist().cdf((difference - Z * math.sqrt(disagreement / true)) / error) if error else 1.0
    whole = round(true)
    spread = math.sqrt(whole * disagreement * (1 - disagreement))
    least = max(math.floor(whole * disagreement - 7 * spread - 1), 0)
    discordant = np.arange(least, min(math.ceil(whole * disagreement + 7 * spread + 1), whole) + 1)
    # The smallest count whose upper tail is at most the level.
    critical = binom.isf(ALPHA, discordant, 0.5) + 1
    better = (disagreement + difference) / (2 * disagreement)
    return float(binom.pmf(discordant, whole, disagreement) @ binom.sf(critical - 1, discordant, better))


def unpaired_power(images: int, accuracy: float, difference: float, design: UnitDesign = INDEPENDENT) -> float:
    """How often a difference is found between two sets of n images each, one-sided at 2.5 %, by Student's t.

    >>> round(unpaired_power(1000, 0.9, 0.02), 3)
    0.296

    Args:
        images: n, in each set. accuracy: of the better model. difference: δ > 0. design: of the decisions.
    """
    error = _apart(images, accuracy, accuracy - difference, design)
    return NormalDist().cdf(difference / error - _t(design, images, 2))


def paired_margin_power(
    images: int, margin: float, disagreement: float, difference: float = 0.0, design: UnitDesign = INDEPENDENT
) -> float:
    """How often a model is shown to be worse than another by less than a margin, on the same images, at 2.5 %.

    By Tango's score test (:func:`snellen.metrics.non_inferiority.paired_worsening`), whose variance is that under the
    hypothesis.

    >>> round(paired_margin_power(1000, 0.02, 0.06), 3)
    0.703

    Args:
        images: n. margin: in (0, 1). disagreement: ψ. difference: δ, the true one; negative where the model is worse.
        design: of the differences.
    """
    _check(margin, "a margin", 0, 1)
    true = max(images / design.effect, 1.0)
    spread = math.sqrt(max(disagreement - difference**2, 0.0) / true)
    counts = true * (disagreement - difference) / 2, true * (disagreement + difference) / 2
    supposed = restricted_disagreement(*counts, true, -margin)
    half = math.sqrt(max(supposed - margin**2, 0.0) / true) * _t(design, images, 1)
    return _beyond(margin + difference, half, spread)


def unpaired_margin_power(
    images: int, margin: float, accuracy: float, difference: float = 0.0, design: UnitDesign = INDEPENDENT
) -> float:
    """The same between two sets of n images each.

    >>> round(unpaired_margin_power(1000, 0.02, 0.9), 3)
    0.318

    Args:
        images: n, in each set. margin: in (0, 1). accuracy: of the earlier model. difference: δ, the true one.
        design: of the decisions.
    """
    _check(margin, "a margin", 0, 1)
    error = _apart(images, accuracy, accuracy + difference, design)
    return NormalDist().cdf((margin + difference) / error - _t(design, images, 2))


def images_for_power(power_of: Callable[[int], float], power: float, what: str) -> int:
    """Fewest images with which a power that rises with them is reached.

    >>> images_for_power(lambda images: paired_power(images, 0.02, 0.06), 0.9, "a difference")
    1631
    """
    _check(power, "the power", 0, 1)
    return _fewest(lambda images: power_of(images) >= power, what)


def smallest_effect(power_of: Callable[[float], float], power: float, largest: float) -> float | None:
    """Smallest effect that is found with this power; None where even the largest is not.

    >>> round(smallest_effect(lambda size: paired_power(1000, size, max(size, 0.06)), 0.9, 0.99), 3)
    0.025

    Args:
        power_of: the power for an effect, rising with it. power: in (0, 1). largest: effect.
    """
    if power_of(largest) < power:
        return None
    low, high = 0.0, largest
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (low, middle) if power_of(middle) >= power else (middle, high)
    return high


def independent_disagreement(first: float, second: float) -> float:
    """Share of images on which just one of two models is right that err independently of each other.

    >>> round(independent_disagreement(0.9, 0.92), 3)
    0.164
    """
    return first * (1 - second) + second * (1 - first)


def _apart(images: int, first: float, second: float, design: UnitDesign) -> float:
    for share in (first, second):
        if not 0 <= share <= 1:
            raise InputError(f"an accuracy lies from 0 to 1; the difference leads to {share:g}")
    variance = first * (1 - first) + second * (1 - second)
    # A unit of each answer in each set (Agresti and Caffo).
    true = max(images / design.effect, 1.0)
    return math.sqrt((variance + 1 / true) / true)


def _beyond(distance: float, half: float, spread: float) -> float:
    if spread == 0:
        return 1.0 if distance > half else 0.0
    return NormalDist().cdf((distance - half) / spread)


def _t(design: UnitDesign, images: int, sets: int) -> float:
    return student_t_quantile(1 - ALPHA, max(sets * (images / design.size - 1), 1.0))


def _shares(count: float, share: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Shares that may be seen, and how probable each is, for a binomial count of about so many images."""
    whole = round(count)
    if whole > _EXACT or share in (0, 1):
        return np.array([share]), np.array([1.0])
    from scipy.stats import binom

    spread = math.sqrt(whole * share * (1 - share))
    least, most = max(math.floor(whole * share - 7 * spread - 1), 0), math.ceil(whole * share + 7 * spread + 1)
    counts = np.arange(least, min(most, whole) + 1)
    weights = binom.pmf(counts, whole, share)
    return counts / whole, weights / weights.sum()


def _fewest(enough: Callable[[int], bool], what: str) -> int:
    """Fewest images that are enough, where more are enough too."""
    high = 2
    while not enough(high):
        high *= 2
        if high > MOST:
            raise InputError(f"{what} needs more than {MOST:,} images; ask for less")
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


def _check(value: float, what: str, low: float, high: float) -> None:
    if not low < value < high:
        raise InputError(f"{what} lies strictly between {low:g} and {high:g}, got {value:g}")


def _check_pair(difference: float, disagreement: float) -> None:
    _check(difference, "a difference", 0, 1)
    if not difference <= disagreement <= 1:
        raise InputError(
            f"two models that differ by {difference:g} disagree on at least as many images; got a disagreement of "
            f"{disagreement:g}, expected {difference:g} to 1"
        )
