"""Poisson counts by inversion: the count at which the cumulative distribution passes a uniform draw.

One draw then serves every rate, and a higher rate never counts less. Photographs have 256 grey levels, so the 256
distributions are tabulated, with a guide table (Chen and Asau, 1974; Devroye 1986, III.2.4): it divides [0, 1) into
buckets and tells the count wherever no step of the distribution lies inside the bucket. Only draws in the other
buckets are searched for.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

#: Uniform draws are multiples of 2⁻²⁴; half of that moves them to the middle of their interval, away from 0.
HALF_STEP = 2.0**-25

_LEVELS = 256
_MOST_BUCKETS = 1024


@dataclass(frozen=True)
class PoissonTable:
    """Distributions of the counts at rates level / 255 · ``photons``, levels 0 to 255.

    Attributes:
        guide: float32 (256 · buckets), the count of all draws in a bucket, or -1 where they do not agree.
        steps: float64 (256 · width), level + P(count ≤ lowest[level] + column), ascending.
        lowest: float32 (256), the smallest count that is tabulated.
    """

    guide: Tensor
    steps: Tensor
    lowest: Tensor

    @classmethod
    def of(cls, photons: float, draws: int, device: torch.device) -> PoissonTable:
        """Tabulate counts up to ⌈photons⌉, which stands for all above; ``draws`` is how many will be looked up.

        What lies beyond six standard deviations, less likely than a step of the draws, is left out. The last tables are
        kept: batches of one setting share theirs.
        """
        # Few draws do not repay a large table.
        return _tabulated(photons, min(_MOST_BUCKETS, 2 ** int(math.log2(max(draws // 128, 1)))), device)

    def counts(self, levels: Tensor, uniforms: Tensor) -> Tensor:
        """Count for each draw: whole levels in [0, 255] and uniforms in [0, 1), both float32 (…) → float32 (…)."""
        buckets, width = len(self.guide) // _LEVELS, len(self.steps) // _LEVELS
        places = (uniforms * buckets).floor_().add_(levels, alpha=buckets).int().flatten()
        counts = self.guide.index_select(0, places)
        unsure = (counts < 0).nonzero().flatten()
        rows = levels.reshape(-1)[unsure]
        aims = uniforms.reshape(-1)[unsure].double().add_(HALF_STEP).add_(rows)
        columns = torch.searchsorted(self.steps, aims, right=True) - rows.long() * width
        counts[unsure] = self.lowest[rows.long()] + columns
        return counts.view(levels.shape)


@lru_cache(maxsize=8)
def _tabulated(photons: float, buckets: int, device: torch.device) -> PoissonTable:
    """:meth:`PoissonTable.of` with this many buckets of [0, 1) at each level."""
    last = math.ceil(photons)
    rates = torch.arange(_LEVELS, dtype=torch.float64)[:, None] * (photons / 255)
    width = min(last, math.ceil(12 * math.sqrt(photons)) + 16) + 1
    lowest = (rates - 6 * rates.sqrt() - 2).floor_().clamp_(0, last + 1 - width)
    counts = lowest + torch.arange(width)
    factorials = torch.arange(last + 1, dtype=torch.float64).add_(1).lgamma_()[counts.long()]
    cumulative = torch.exp(torch.xlogy(counts, rates) - rates - factorials).cumsum_(1)
    cumulative[:, -1] = 1.0
    steps_inside = torch.zeros(_LEVELS, buckets + 1)
    steps_inside.scatter_add_(1, (cumulative * buckets).long(), torch.ones(()).expand_as(cumulative))
    steps_before = steps_inside.cumsum(1).sub_(steps_inside)
    guide = torch.where(steps_inside > 0, -1.0, steps_before + lowest.float())[:, :-1]
    steps = cumulative + torch.arange(_LEVELS)[:, None]
    return PoissonTable(guide.flatten().to(device), steps.flatten().to(device), lowest.flatten().float().to(device))


def small_counts(rates: Tensor, uniforms: Tensor) -> Tensor:
    """Poisson counts for any rates ≥ 0, step by step from zero: for low rates. Both float32 (…), uniforms in [0, 1)."""
    aims = uniforms.double().add_(HALF_STEP)
    rates = rates.double()
    probability = torch.exp(-rates)
    cumulative, counts = probability.clone(), torch.zeros_like(rates)
    for count in range(1, _highest_count(float(rates.max())) + 1):
        counts += aims >= cumulative
        cumulative += probability.mul_(rates).div_(count)
    return counts.float()


def _highest_count(rate: float) -> int:
    """The count that draws at this rate, and at lower ones, do not pass."""
    probability = cumulative = math.exp(-rate)
    count = 0
    while cumulative < 1 - HALF_STEP:
        count += 1
        probability *= rate / count
        cumulative += probability
    return count
