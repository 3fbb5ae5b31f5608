"""Noise of sensors and transmission: ImageNet-C's four kinds (arXiv 1903.12261, appendix B), which MedMNIST-C shares.

Each kind has one draw for each value of an image, at any strength: a stronger setting makes the same noise stronger.
Strengths are numbers, or tensors (n, 1, 1, 1) with one for each image. Images are (n, 3, h, w) in [0, 1], or their
first channel alone (n, 1, h, w), which gets the draws that it has among three.

Poisson counts come by inversion: one draw serves every rate, and a higher rate never counts less. Photographs have 256
grey levels, so the 256 distributions are tabulated, with a guide table (Chen and Asau, 1974; Devroye 1986, III.2.4): it
divides [0, 1) into buckets and gives the count wherever no step of the distribution lies inside the bucket. Only draws
in the other buckets are searched for.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from snellen.core.randomness import Randomness

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
        """Tabulate counts up to ⌈photons⌉, which stands for all above; ``draws`` is how many will be read.

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


#: Values closer than this to a grey level, in 1/255, are that level: a division by 255 in float32 is not exact.
_ROUNDING = 1e-4

#: From here on counts are drawn as normal variables; the quantiles that a draw can reach differ by < 0.2/255.
_MANY_PHOTONS = 10_000

#: Values that are read together on a CPU, so that they stay in its cache.
_BLOCK = 2**17

_FAR = 1e30


def gaussian_noise(images: Tensor, rng: Randomness, *, deviation: float | Tensor) -> Tensor:
    """Add normal noise of this standard deviation, in [0, 1] units."""
    draws = rng.normal("gaussian_noise", (3, *images.shape[2:]), like=images)[:, : images.shape[1]]
    return (draws * deviation).add_(images).clamp_(0, 1)


def speckle_noise(images: Tensor, rng: Randomness, *, deviation: float | Tensor) -> Tensor:
    """Add normal noise in proportion to the value; ``deviation`` is that of the proportion."""
    draws = rng.normal("speckle_noise", (3, *images.shape[2:]), like=images)[:, : images.shape[1]]
    return (draws * deviation).mul_(images).add_(images).clamp_(0, 1)


def impulse_noise(images: Tensor, rng: Randomness, *, share: float | Tensor) -> Tensor:
    """Set a share of the values to 0 or 1, half each: scikit-image's salt-and-pepper noise.

    A value that is hit stays hit, in the same way, at every larger share.
    """
    draws = rng.uniform("impulse_noise", (3, *images.shape[2:]), -1.0, 1.0, like=images)[:, : images.shape[1]]
    # Negative where |draw| < share, else 0. The draw's sign, pushed far beyond [0, 1], is then salt or pepper: clamping
    # does what a mask would, several times faster.
    return draws.abs().sub_(share).clamp_(max=0).copysign_(draws).mul_(_FAR).add_(images).clamp_(0, 1)


def shot_noise(images: Tensor, rng: Randomness, *, photons: float | Tensor) -> Tensor:
    """Count photons, Poisson(value · photons) / photons, where white is ``photons`` > 0 of them on average.

    The counts are exact for any value: those of the grey level at or below it, from a table, plus those of the rest of
    the rate, from a second draw. From 10 000 photons on their normal limit is taken.

    >>> white = torch.ones(1, 3, 64, 64)
    >>> counts = shot_noise(white, Randomness(0).bind(1), photons=4.0) * 4
    >>> counts.unique()
    tensor([0., 1., 2., 3., 4.])
    """
    if not len(images):
        return images.clone()
    uniforms = rng.uniform("shot_noise", (3, *images.shape[2:]), like=images)[:, : images.shape[1]]
    if isinstance(photons, Tensor):
        parts = [(slice(row, row + 1), float(white)) for row, white in enumerate(photons.flatten())]
    else:
        size = max(_BLOCK // images[0].numel(), 1) if images.device.type == "cpu" else len(images)
        parts = [(slice(row, row + size), photons) for row in range(0, len(images), size)]
    noisy, tables = torch.empty_like(images), dict[float, PoissonTable]()
    for rows, white in parts:
        part = images[rows]
        if white >= _MANY_PHOTONS:
            noise = torch.special.ndtri(uniforms[rows].double().add_(HALF_STEP)).to(images)
            noisy[rows] = noise.mul_((part / white).sqrt_()).add_(part)
            continue
        if white not in tables:
            tables[white] = PoissonTable.of(white, part.numel(), images.device)
        levels = (part * 255).add_(_ROUNDING).floor_().clamp_(0, 255)
        counts = tables[white].counts(levels, uniforms[rows])
        rest = torch.sub(part, levels, alpha=1 / 255)
        if float(rest.max()) > 2 * _ROUNDING / 255:
            numbers = range(len(images))[rows]
            others = rng[numbers].uniform("shot_noise_between_levels", (3, *images.shape[2:]), like=images)
            others = others[:, : images.shape[1]]
            counts += small_counts(rest.clamp_(min=0).mul_(white), others)
        noisy[rows] = counts.div_(white)
    return noisy.clamp_(0, 1)
