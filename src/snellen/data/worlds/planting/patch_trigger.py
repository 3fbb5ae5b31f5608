"""A small patch at a place, the trigger of BadNets."""

from __future__ import annotations

import math
from typing import Literal, get_args

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from snellen.core.errors import InputError
from snellen.core.randomness import Randomness
from snellen.data.worlds.planting.trigger import Trigger

Place = Literal["top left", "top right", "bottom left", "bottom right", "centre", "anywhere"]
Pattern = Literal["checker", "stripe", "colours", "white"]

PLACES: tuple[Place, ...] = get_args(Place)
PATTERNS: tuple[Pattern, ...] = get_args(Pattern)


class PatchTrigger(Trigger):
    """A square over the image (Gu et al. 2017, "BadNets"): x' = (1 − opacity) x + opacity · pattern inside it.

    Its side is the whole part of ``size`` times the shorter edge, and at least one pixel: a tenth of 32 pixels is 3.

    >>> white = PatchTrigger(pattern="white", size=0.25).stamp(torch.zeros(1, 3, 8, 8))
    >>> white.images[0, 0, 5:, 5:].tolist(), int(white.region.sum())
    ([[0.0, 0.0, 0.0], [0.0, 1.0, 1.0], [0.0, 1.0, 1.0]], 4)
    """

    kind: Literal["patch"] = "patch"
    place: Place = Field("bottom right", description="anywhere: drawn for each image")
    size: float = Field(0.1, gt=0, le=1, description="side of the patch, share of the image's shorter edge")
    margin: float = Field(0.0, ge=0, lt=0.5, description="distance from the edge, share of the shorter edge")
    pattern: Pattern = Field("checker", description="stripe: a white anti-diagonal on black; colours: by pattern_seed")
    cells: int = Field(4, ge=1, le=64, description="cells of the pattern along a side; at most one for each pixel")
    opacity: float = Field(1.0, gt=0, le=1, description="1 hides what is below")
    pattern_seed: int = Field(0, ge=0, description="which colours")

    @property
    def differs_by_chance(self) -> bool:
        """Whether the place is drawn for each image."""
        return self.place == "anywhere"

    def _stamp(self, images: Tensor, rng: Randomness) -> tuple[Tensor, Tensor]:
        height, width = images.shape[2:]
        side, margin = self._pixels(height, width)
        top, left = (place[:, None] for place in self._corner(height - side, width - side, margin, rng))
        cells = min(self.cells, side)
        down = torch.arange(height)[None] - top
        across = torch.arange(width)[None] - left
        region = ((down >= 0) & (down < side))[:, :, None] & ((across >= 0) & (across < side))[:, None]
        row, column = ((place.clamp(0, side - 1) * cells) // side for place in (down, across))
        drawn = self.cells_of_pattern(cells)[:, row[:, :, None], column[:, None]].transpose(0, 1).to(images.device)
        region = region.to(images.device)
        mixed = images * (1 - self.opacity) + drawn * self.opacity
        return torch.where(region[:, None], mixed, images), region

    def cells_of_pattern(self, cells: int) -> Tensor:
        """Colours of the pattern: float64 (3, cells, cells), each 0 or 1."""
        row, column = torch.meshgrid(torch.arange(cells), torch.arange(cells), indexing="ij")
        if self.pattern == "colours":
            drawn = np.random.default_rng(self.pattern_seed).integers(0, 2, (3, cells, cells))
            return torch.from_numpy(drawn).double()
        if self.pattern == "checker":
            bright = (row + column) % 2 == 0
        elif self.pattern == "stripe":
            bright = (row + column - (cells - 1)).abs() <= cells // 6
        else:
            bright = torch.ones_like(row, dtype=torch.bool)
        return bright.double().expand(3, cells, cells)

    def _pixels(self, height: int, width: int) -> tuple[int, int]:
        shorter = min(height, width)
        # Shares such as 0.29 of 100 are a hair below the whole number that they mean.
        side, margin = max(1, math.floor(self.size * shorter + 1e-9)), math.floor(self.margin * shorter + 1e-9)
        if side + margin > shorter:
            raise InputError(
                f"a patch of {side} pixels at {margin} pixels from the edge does not fit {height}×{width} pixels; "
                f"choose a smaller size or margin"
            )
        return side, margin

    def _corner(self, lowest: int, rightmost: int, margin: int, rng: Randomness) -> tuple[Tensor, Tensor]:
        """Upper and left edge of the patch in each image, int64 (n,)."""
        count = len(rng.ids or ())
        if self.place == "anywhere":
            drawn = rng.uniform("patch place", (2,)).double()
            spans = [max(0, free - 2 * margin) for free in (lowest, rightmost)]
            first = [min(margin, free) for free in (lowest, rightmost)]
            top, left = (
                (start + (drawn[:, axis] * (span + 1)).floor().long().clamp(max=span))
                for axis, (start, span) in enumerate(zip(first, spans, strict=True))
            )
            return top, left
        near = {"top": margin, "left": margin, "bottom": lowest - margin, "right": rightmost - margin}
        vertical, _, horizontal = self.place.partition(" ")
        upper, leftmost = near.get(vertical, lowest // 2), near.get(horizontal, rightmost // 2)
        return torch.full((count,), upper), torch.full((count,), leftmost)
