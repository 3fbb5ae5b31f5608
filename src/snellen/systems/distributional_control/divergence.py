"""How far samples are from wanted shares, and whether they have collapsed.

De-bias KL (C. H. Wu et al. 2022, ``evaluation/debias.py``): Σ_k p_k log(p_k / μ_k), p the histogram of the likeliest
class. Reverse KL tends to few modes, so variety is measured beside it: the exact entropy of the latents, which changed
by E[log|det J|] nats, and the distance of an image to its nearest neighbour among as many, against the generator's own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from snellen.core.errors import InputError

#: Nearest neighbours at less than this share of the generator's own distance, or latents that lost more than this many
#: nats a dimension, are a collapse.
NEAREST, LOST = 0.4, 1.5

#: Images are compared at so many pixels along each side; and the most that are compared.
SIDE, MOST = 16, 512


def divergence(counts: Tensor | Sequence[float], shares: Tensor | Sequence[float] | None = None) -> float:
    """KL of a histogram from wanted shares, nats; 0 log 0 is 0.

    >>> round(divergence([70, 20, 10]), 4), divergence([5, 5]), divergence([1, 0]) == divergence([0, 1])
    (0.2968, 0.0, True)

    Args:
        counts: images of each class, (k,).
        shares: μ, (k,); None: uniform. A class with share 0 that has images makes it infinite.

    Raises:
        InputError: no image, or a count below 0.
    """
    found = torch.as_tensor(counts, dtype=torch.float64)
    if found.ndim != 1 or float(found.sum()) <= 0 or float(found.min()) < 0:
        raise InputError(f"a histogram has counts of at least 0, and one image at least; got {found.tolist()}")
    share = found / found.sum()
    uniform = torch.full_like(share, 1 / len(share))
    wanted = uniform if shares is None else torch.as_tensor(shares, dtype=torch.float64)
    return max(float((torch.xlogy(share, share) - torch.xlogy(share, wanted)).sum()), 0.0)


def decided(probabilities: Tensor) -> Tensor:
    """Whether each binary attribute is there, from its *probability* (n, k): above 0.5. Never from its logit.

    >>> decided(torch.tensor([[0.55, 0.45]])).tolist()
    [[True, False]]
    """
    if float(probabilities.min()) < 0 or float(probabilities.max()) > 1:
        raise InputError("attributes are decided by probabilities in [0, 1]; these are scores: take their sigmoid")
    return probabilities > 0.5


def nearest_distance(images: Tensor) -> float:
    """Mean distance of an image to its nearest other one: root mean square of pixels averaged to 16 × 16, in [0, 1].

    Args:
        images: (n, 3, h, w) in [0, 1], n ≥ 2; the first :data:`MOST` are compared.
    """
    small = F.interpolate(images[:MOST].float(), (SIDE, SIDE), mode="area").flatten(1)
    # Not by inner products, whose rounding would hide exact copies.
    apart = torch.cdist(small, small, compute_mode="donot_use_mm_for_euclid_dist").fill_diagonal_(torch.inf)
    return float(apart.amin(1).mean()) / small.shape[1] ** 0.5


@dataclass(frozen=True)
class Variety:
    """How varied controlled samples are.

    Attributes:
        nearest: distance to the nearest neighbour, as a share of that of the generator's own samples.
        entropy: change of the entropy of the latents, nats a dimension; below 0 where the control narrows them.
    """

    nearest: float
    entropy: float

    @property
    def warning(self) -> str | None:
        """The warning about a collapse; None without one."""
        if self.nearest >= NEAREST and self.entropy >= -LOST:
            return None
        return (
            f"the control has collapsed to few images: nearest neighbours lie at {self.nearest:.0%} of the distance "
            f"of the generator's own, and the latents lost {-self.entropy:.2f} nats a dimension; lower the weight, or "
            f"train longer with a longer warm-up"
        )


def variety(images: Tensor, own: Tensor, log_determinant: Tensor, dimension: int) -> Variety:
    """The variety of controlled images against as many of the generator's own.

    Args:
        images: controlled, (n, 3, h, w).
        own: of the generator without a control, (n, 3, h, w).
        log_determinant: of the controlled images, (n,).
        dimension: of the latents.
    """
    base = nearest_distance(own)
    share = nearest_distance(images) / base if base > 0 else 1.0
    return Variety(share, float(log_determinant.double().mean()) / dimension)
