"""Density and coverage: whether generated images look like real ones, and whether all kinds of real ones occur.

Naeem et al., *Reliable Fidelity and Diversity Metrics for Generative Models*, ICML 2020, eq. 3 and 4. The neighbourhood
of a real image is the ball around its features that reaches its k-th nearest real neighbour.
"""

from __future__ import annotations

import torch
from torch import Tensor

from snellen.errors import InputError

#: Real images whose distances to all generated ones are taken together.
_TOGETHER = 1024


def coverage(real: Tensor, generated: Tensor, *, neighbours: int = 5) -> float:
    """Share of real images in whose neighbourhood a generated one lies, in [0, 1].

    >>> real = torch.tensor([[0.0], [1.0], [2.0], [10.0], [11.0], [12.0]])
    >>> coverage(real, real, neighbours=1), coverage(real, torch.zeros(6, 1), neighbours=1)
    (1.0, 0.3333333333333333)

    Args:
        real: features (n, d), n > ``neighbours``.
        generated: features (m, d), m ≥ 1.
        neighbours: k.

    Raises:
        InputError: too few images, or features of different widths.
    """
    radii = _radii(real, generated, neighbours)
    nearest = torch.cat([_distances(part, generated).amin(1) for part in real.split(_TOGETHER)])
    return float((nearest <= radii).double().mean())


def density(real: Tensor, generated: Tensor, *, neighbours: int = 5) -> float:
    """Mean number of neighbourhoods that a generated image lies in, over k: about 1 for images like the real ones.

    >>> real = torch.tensor([[0.0], [1.0], [2.0]])
    >>> density(real, torch.tensor([[50.0]]), neighbours=1)
    0.0

    Raises:
        InputError: too few images, or features of different widths.
    """
    radii = _radii(real, generated, neighbours)
    rows = zip(real.split(_TOGETHER), radii.split(_TOGETHER), strict=True)
    inside = sum(float((_distances(part, generated) <= radius[:, None]).sum()) for part, radius in rows)
    return inside / (neighbours * len(generated))


def _radii(real: Tensor, generated: Tensor, neighbours: int) -> Tensor:
    """Distance of each real image to its k-th nearest other one, (n,)."""
    if real.ndim != 2 or generated.ndim != 2 or real.shape[1] != generated.shape[1] or not len(generated):
        raise InputError(
            f"real and generated features are (n, d) and (m, d); got {tuple(real.shape)} and {tuple(generated.shape)}"
        )
    if not 1 <= neighbours < len(real):
        raise InputError(f"neighbours must be from 1 to {len(real) - 1}, fewer than the real images; got {neighbours}")
    # The nearest real image is the image itself.
    found = [_distances(part, real).kthvalue(neighbours + 1, dim=1).values for part in real.split(_TOGETHER)]
    return torch.cat(found)


def _distances(first: Tensor, second: Tensor) -> Tensor:
    """Euclidean distances, float64 (n, m), as sums of squared differences.

    By products of matrices they would be faster, and wrong for features that lie near each other and far from zero.
    """
    return torch.cdist(first.double(), second.double(), compute_mode="donot_use_mm_for_euclid_dist")
