"""Procedural images of a gland with a lesion, 32 pixels wide: six independent factors, and a rule on two of them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

SIDE = 32

#: Factors in the order of the columns; each is uniform in [0, 1] and independent of the others.
FACTORS = ("intensity", "radius", "sharpness", "gland", "texture", "position")

#: Half of all lesions have (0.3 + intensity) · (0.3 + radius) above this value.
MEDIAN = 0.5715


@dataclass(frozen=True, eq=False)
class Lesions:
    """Images and what they were drawn with.

    Attributes:
        images: uint8 (n, 3, 32, 32), all channels equal.
        factors: float32 (n, 6), in [0, 1], see :data:`FACTORS`.
    """

    images: Tensor
    factors: Tensor

    @property
    def labels(self) -> Tensor:
        """1 where intensity × radius is large, int64 (n,)."""
        product = (0.3 + self.factors[:, 0]) * (0.3 + self.factors[:, 1])
        return (product > MEDIAN).long()

    @property
    def other_labels(self) -> Tensor:
        """1 where texture × gland is large: the same rule on two factors that the first knows nothing of."""
        product = (0.3 + self.factors[:, 4]) * (0.3 + self.factors[:, 3])
        return (product > MEDIAN).long()


def draw_lesions(count: int, generator: torch.Generator) -> Lesions:
    """Draw images: a bright disc (gland) with a grating and a darker, blurred disc (lesion) in it."""
    factors = torch.rand(count, len(FACTORS), generator=generator)
    grain = torch.randn(count, SIDE, SIDE, generator=generator)
    intensity, radius, sharpness, gland, texture, position = (one[:, None, None] for one in factors.unbind(1))
    rows, columns = torch.meshgrid(torch.arange(SIDE) + 0.5, torch.arange(SIDE) + 0.5, indexing="ij")
    middle = SIDE / 2
    distance = ((rows - middle).square() + (columns - middle).square()).sqrt()
    body = (10 + 4.5 * gland - distance + 0.5).clamp(0, 1)
    # Coarse and of one phase: a style generator draws fine waves of a free phase with its noise, which rebuilds none.
    waves = torch.sin(torch.pi * columns / 8) * torch.sin(torch.pi * rows / 8)
    # The place runs over an arc, so that the lesion stays inside of the smallest gland.
    angle = torch.pi * (0.25 + 1.5 * position)
    off_row, off_column = middle + 3.75 * torch.sin(angle), middle + 3.75 * torch.cos(angle)
    away = ((rows - off_row).square() + (columns - off_column).square()).sqrt()
    soft = 1.5 - 1.1 * sharpness
    spot = ((2.25 + 3.75 * radius - away) / soft).sigmoid()
    shade = 0.1 + body * (0.55 + 0.15 * texture * waves) - spot * (0.1 + 0.4 * intensity) + 0.01 * grain
    bytes_ = shade.clamp(0, 1).mul(255).round().to(torch.uint8)
    return Lesions(bytes_[:, None].expand(-1, 3, -1, -1).contiguous(), factors)
