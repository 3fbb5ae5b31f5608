"""When votes are looked at, and what each look may err: a schedule that is declared before the first sample.

**Why stopping early keeps the confidence.** Let look j come after nⱼ samples and have the level αⱼ, all fixed in
advance, with α₁ + … + α_m = α. At look j every branch's probability has a Clopper–Pearson bound of level αⱼ / branches,
computed from its first nⱼ samples; it is wrong with probability αⱼ / branches at most, whatever happens at other looks.
By the union bound *all* bounds of all looks and branches hold together with probability 1 − α at least, and then the
bound at which one stops holds too, by whatever rule, and by looking at whatever, that look was chosen. No independence
between the looks is needed. Giving up early has a budget of its own, of the same kind: it decides what is called
"not proven", and can never make a radius too large.
"""

from __future__ import annotations

from dataclasses import dataclass

from snellen.core.errors import InputError
from snellen.methods.smoothing.bounds import check_level

#: Samples at the first look, growth from look to look, and the share of the level that is kept for the last one.
FIRST, GROWTH, LAST_SHARE = 100, 2.5, 0.5


@dataclass(frozen=True)
class Look:
    """A look at the votes.

    Args:
        samples: of each branch, drawn so far.
        level: error probability of all bounds of this look together.
    """

    samples: int
    level: float


def single_look(samples: int, alpha: float) -> tuple[Look, ...]:
    """One look at the end, at the whole level: no early stopping.

    Raises:
        InputError: no samples, or a level outside (0, 1).
    """
    check_level(alpha)
    if samples < 1:
        raise InputError(f"votes need at least one sample, got {samples}")
    return (Look(samples, alpha),)


def early_looks(samples: int, alpha: float, *, step: int = FIRST) -> tuple[Look, ...]:
    """Looks at growing numbers of samples; the last has half of the level, the others share the rest.

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
