"""A small smooth warp of the whole image, the trigger of WaNet."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import interpolate

from snellen.core.randomness import Randomness
from snellen.data.worlds.planting.trigger import Trigger, everywhere


class WarpTrigger(Trigger):
    """Pixels moved along a smooth field (Nguyen and Tran 2021, "WaNet", equations 4 to 6).

    Displacements are drawn in [−1, 1] on a k × k grid (``grid``), divided by the mean of their sizes, and grown to the
    image with cubic interpolation; pixels are read there with linear interpolation, and never from outside. The
    published strength s moves pixels by about s/2 pixels at any resolution; ``displacement`` is a share of the edge
    instead, s / (2 · edge), so that the trigger looks the same at every resolution. s = 0.5 on 32 pixels is 1/128.

    >>> still = WarpTrigger().stamp(torch.full((1, 3, 16, 16), 0.5)).images
    >>> bool((still - 0.5).abs().max() < 1e-6)
    True
    """

    kind: Literal["warp"] = "warp"
    grid: int = Field(4, ge=2, le=64, description="k: displacements along a side")
    displacement: float = Field(1 / 64, gt=0, le=0.25, description="mean size along each axis, share of the edge")
    pattern_seed: int = Field(0, ge=0, description="which displacements")

    def displacements(self, height: int, width: int) -> Tensor:
        """From where pixels are read, relative to themselves, downwards and to the right: float64 (2, h, w), pixels."""
        drawn = np.random.default_rng(self.pattern_seed).uniform(-1, 1, (1, 2, self.grid, self.grid))
        unit = torch.from_numpy(drawn / np.abs(drawn).mean())
        grown = interpolate(unit, (height, width), mode="bicubic", align_corners=True)[0]
        return grown * self.displacement * torch.tensor([height, width], dtype=torch.float64)[:, None, None]

    def _stamp(self, images: Tensor, rng: Randomness) -> tuple[Tensor, Tensor]:
        height, width = images.shape[2:]
        move = self.displacements(height, width)
        down = (torch.arange(height, dtype=torch.float64)[:, None] + move[0]).clamp(0, height - 1)
        across = (torch.arange(width, dtype=torch.float64)[None] + move[1]).clamp(0, width - 1)
        # Written out and not grid_sample: one field serves the whole batch, and its bytes are the same for one image.
        top, left = down.floor().clamp(max=max(height - 2, 0)), across.floor().clamp(max=max(width - 2, 0))
        below, beside = (down - top).to(images.device), (across - left).to(images.device)
        row, column = top.long().to(images.device), left.long().to(images.device)
        next_row, next_column = (row + 1).clamp(max=height - 1), (column + 1).clamp(max=width - 1)
        upper = images[:, :, row, column] * (1 - beside) + images[:, :, row, next_column] * beside
        lower = images[:, :, next_row, column] * (1 - beside) + images[:, :, next_row, next_column] * beside
        return upper * (1 - below) + lower * below, everywhere(images)
