"""How many images an interval, a gate or a comparison of accuracies needs, and what a number of images can show.

Everything here is about the procedures that the audit uses: Wilson's interval with an effective number of images
(:func:`snellen.metrics.clustered.clustered_share`), gates on its lower end, McNemar's exact test, and Student's t of
differences. A plan for other intervals would promise what these do not keep.

Images in units count as :class:`~snellen.metrics.unit_design.UnitDesign` has it. Notation below: n images, p the true
accuracy, b a bound, ψ the share of images on which just one of two models is right, δ the difference of accuracies.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from snellen.core.errors import InputError
from snellen.metrics.incomplete_beta import student_t_quantile
from snellen.metrics.non_inferiority import restricted_disagreement
from snellen.metrics.unit_design import ALPHA, INDEPENDENT, UnitDesign

#: Standard errors from an estimate to an end of its 95 % interval.
Z = NormalDist().inv_cdf(1 - ALPHA)

#: Number of images beyond which a plan is refused.
MOST = 100_000_000

#: Numbers of images up to which distributions are summed exactly.
_EXACT = 50_000

#: Teeth of the saw, and fewest images, beyond the number that was found, within which the power may fall below again.
_TEETH, _SAW = 4, 400


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
    if design.size == 1:
        return float(_binomial_power(np.array([images]), accuracy, bound, upper=upper)[0])
    if upper:
        return gate_power(images, 1 - accuracy, 1 - bound, design)
    from scipy.special import betainc

    counted = design.counted(images, bound * (1 - bound))
    true = max(images / design.effect, 1.0)
    # Between the whole numbers, half a step above the threshold stands for the next one, on average.
    least_share = bound + Z * math.sqrt(bound * (1 - bound) / counted)
    count = true * least_share + 0.5
    return 0.0 if count >= true + 0.5 else float(betainc(count, true - count + 1, accuracy))


def _binomial_power(images: NDArray[np.int64], accuracy: float, bound: float, *, upper: bool) -> NDArray[np.float64]:
    """Power of a gate for each of several numbers of independent images, (k,)."""
    from scipy.stats import binom

    if upper:
        accuracy, bound = 1 - accuracy, 1 - bound
    least = np.ceil(images * bound + Z * np.sqrt(images * bound * (1 - bound)) - 1e-9)
    power: NDArray[np.float64] = binom.sf(least - 1, images, accuracy)
    return power


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
    if design.size > 1:  # without teeth: see gate_power
        return found
    # The count to reach rises with each image but one in 1 / (1 − b), or stays but for one in 1 / b.
    teeth = max(_SAW, math.ceil(min(_TEETH / min(bound, 1 - bound), _EXACT)))
    after = np.arange(found, found + teeth + 1)
    below = after[_binomial_power(after, accuracy, bound, upper=upper) < power]
    return int(below[-1]) + 1 if len(below) else found


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
    check_disagreement(difference, disagreement)
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


def check_disagreement(difference: float, disagreement: float) -> None:
    """Refuse a disagreement of two models that is less than their difference.

    Raises:
        InputError: it is, or either is out of range.
    """
    _check(difference, "a difference", 0, 1)
    if not difference <= disagreement <= 1:
        raise InputError(
            f"two models that differ by {difference:g} disagree on at least as many images; got a disagreement of "
            f"{disagreement:g}, expected {difference:g} to 1"
        )


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
