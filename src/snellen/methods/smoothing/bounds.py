"""Bounds of vote probabilities, and the l2 radius that they prove.

Cohen, Rosenfeld and Kolter, "Certified adversarial robustness via randomized smoothing", ICML 2019, arXiv 1902.02918,
theorem 1; Xia, Yu, Jiang and Ding, "Mitigating the curse of dimensionality for certified robustness via dual randomized
smoothing", ICLR 2024, arXiv 2404.09586.

**Two halves.** A change δ of the image falls into parts of lengths u and v on the halves, u² + v² = ‖δ‖². By Neyman
and Pearson's lemma the vote probability of a class on one half stays above Φ(a − u/σ), with a = Φ⁻¹ of a lower bound
of it, and on the other above Φ(b − v/σ). The class has the majority of all votes while these add up to more than 1,
which is while a − u/σ > −(b − v/σ), or u + v < σ(a + b). Since u + v ≤ √2 ‖δ‖, with equality at u = v, this holds for
every change with ‖δ‖ < σ(a + b)/√2 and for no larger radius: two half-spaces attain both bounds. A negative a or b
counts as it is.

**Why stopping early keeps the confidence.** Let look j come after nⱼ samples and have the level αⱼ, all fixed in
advance, with α₁ + … + α_m = α. At look j every branch's probability has a Clopper–Pearson bound of level αⱼ / branches,
computed from its first nⱼ samples; it is wrong with probability αⱼ / branches at most, independent of other looks. By
the union bound *all* bounds of all looks and branches hold together with probability 1 − α at least, and then the bound
at which one stops holds too, for any rule that chose that look. No independence between the looks is needed. Giving up
early has a budget of its own, of the same kind: it decides what is called "not proven", and can never make a radius too
large.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from statistics import NormalDist

from snellen.core.errors import InputError
from snellen.metrics.incomplete_beta import beta_quantile

_NORMAL = NormalDist()


# Many images share few counts, above all that of all votes.
@lru_cache(maxsize=65536)
def lower_bound(votes: int, samples: int, level: float) -> float:
    """One-sided Clopper–Pearson bound: below it lies the true probability in a share ``level`` of cases at most.

    >>> lower_bound(10, 10, 0.001) == 0.001 ** (1 / 10)
    True

    Args:
        votes: 0 … samples.
        samples: at least 1.
        level: error probability, in (0, 1).

    Raises:
        InputError: counts or level out of range.
    """
    if not 0 <= votes <= samples or samples < 1:
        raise InputError(f"{votes} votes of {samples} are no count")
    check_level(level)
    if votes == 0:
        return 0.0
    return level ** (1 / samples) if votes == samples else beta_quantile(level, votes, samples - votes + 1)


def upper_bound(votes: int, samples: int, level: float) -> float:
    """The same from above, by symmetry."""
    return 1 - lower_bound(samples - votes, samples, level)


def quantile(probability: float) -> float:
    """Φ⁻¹, with −∞ and ∞ at 0 and 1."""
    if probability <= 0:
        return -math.inf
    return math.inf if probability >= 1 else _NORMAL.inv_cdf(probability)


def proven_radius(bounds: Sequence[float], sigma: float) -> float:
    """The l2 radius that lower bounds of a class's probabilities prove: one bound for the whole image, two for halves.

    σ Φ⁻¹(p), or σ (Φ⁻¹(p₁) + Φ⁻¹(p₂)) / √2; at or below 0 nothing is proven, not even the decision itself.

    >>> from statistics import NormalDist
    >>> p = NormalDist().cdf
    >>> [round(proven_radius([p(a), p(b)], 1.0), 3) for a, b in ((3, 3), (3, 0.01), (3, -2))]
    [4.243, 2.128, 0.707]
    """
    total = sum(quantile(bound) for bound in bounds)
    return total if math.isinf(total) or math.isnan(total) else sigma * total / math.sqrt(len(bounds))


def published_radius(bounds: Sequence[float], sigma: float) -> float:
    """What the published code returns for two halves, √(r₁² + r₂²) with a branch below ½ as 0; it is no guarantee.

    It is at least the radius that can be proven, and larger wherever the bounds differ. Two half-spaces break it.
    """
    return sigma * math.sqrt(sum(max(quantile(bound), 0.0) ** 2 for bound in bounds))


def largest_radius(branches: int, samples: int, alpha: float, sigma: float) -> float:
    """The radius that no image can exceed with so many samples: that of unanimous votes.

    >>> round(largest_radius(1, 10_000, 0.001, 1.0), 3), round(largest_radius(2, 10_000, 0.001, 2**-0.5), 3)
    (3.199, 3.171)
    """
    return proven_radius([lower_bound(samples, samples, alpha / branches)] * branches, sigma)


def check_level(level: float) -> None:
    """Refuse an error probability outside (0, 1).

    Raises:
        InputError: it is.
    """
    if not 0 < level < 1:
        raise InputError(f"an error probability lies between 0 and 1, got {level}")


#: Samples at the first look, growth from look to look, and the share of the level that is kept for the last one.
FIRST, GROWTH, LAST_SHARE = 100, 2.5, 0.5


@dataclass(frozen=True)
class Look:
    """One evaluation of the votes.

    Args:
        samples: of each branch, drawn so far.
        level: error probability of all bounds of this look together.
    """

    samples: int
    level: float


def single_look(samples: int, alpha: float) -> tuple[Look, ...]:
    """One look after all samples, with the whole level: no early stopping.

    Raises:
        InputError: no samples, or a level outside (0, 1).
    """
    check_level(alpha)
    if samples < 1:
        raise InputError(f"votes need at least one sample, got {samples}")
    return (Look(samples, alpha),)


def early_looks(samples: int, alpha: float, *, step: int = FIRST) -> tuple[Look, ...]:
    """One look after each of growing numbers of samples; the last has half of the level, the others share the rest.

    >>> [look.samples for look in early_looks(10_000, 0.001)]
    [100, 250, 600, 1550, 3900, 10000]
    >>> round(sum(look.level for look in early_looks(10_000, 0.001)), 12)
    0.001

    Args:
        samples: at the last look.
        alpha: level of all looks together.
        step: the first look; all but the last are at multiples of half of it.
    """
    (last,) = single_look(samples, alpha)
    early: list[int] = []
    at = float(step)
    while at * GROWTH**0.5 < samples:
        early.append(max(step, round(at / (step / 2)) * (step // 2)))
        at *= GROWTH
    if not early:
        return (last,)
    share = alpha * (1 - LAST_SHARE) / len(early)
    return (*(Look(count, share) for count in early), Look(samples, alpha * LAST_SHARE))
