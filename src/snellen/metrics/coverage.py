"""Density and coverage: whether generated images look like real ones, and whether all kinds of real ones occur.

Naeem et al., *Reliable Fidelity and Diversity Metrics for Generative Models*, ICML 2020, eq. 3 and 4. The neighbourhood
of a real image is the ball around its features that reaches its k-th nearest real neighbour.
"""

from __future__ import annotations

import torch
from torch import Tensor

from snellen.metrics.neighbourhoods import TOGETHER, check_features, distances, radii


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
    check_features(real, generated)
    nearest = torch.cat([distances(part, generated).amin(1) for part in real.split(TOGETHER)])
    return float((nearest <= radii(real, neighbours)).double().mean())


def density(real: Tensor, generated: Tensor, *, neighbours: int = 5) -> float:
    """Mean number of neighbourhoods that a generated image lies in, over k: about 1 for images like the real ones.

    >>> real = torch.tensor([[0.0], [1.0], [2.0]])
    >>> density(real, torch.tensor([[50.0]]), neighbours=1)
    0.0

    Raises:
        InputError: too few images, or features of different widths.
    """
    check_features(real, generated)
    rows = zip(real.split(TOGETHER), radii(real, neighbours).split(TOGETHER), strict=True)
    inside = sum(float((distances(part, generated) <= reach[:, None]).sum()) for part, reach in rows)
    return inside / (neighbours * len(generated))
