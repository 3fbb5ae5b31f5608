"""A faint picture over the whole image, the trigger of blended injection."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import interpolate

from snellen.core.randomness import Randomness
from snellen.data.worlds.planting.trigger import Trigger, everywhere


class BlendTrigger(Trigger):
    """A picture blended in (Chen et al. 2017, blended injection): x' = (1 − ratio) x + ratio · T.

    T is a field of colours that are drawn on a grid and run into each other, so that it is the same picture at every
    resolution.

    >>> stamped = BlendTrigger(ratio=0.2).stamp(torch.zeros(1, 3, 8, 8))
    >>> bool(stamped.images.max() <= 0.2)
    True
    """

    kind: Literal["blend"] = "blend"
    ratio: float = Field(0.2, gt=0, le=1, description="share of the picture; published attacks use 0.05 to 0.25")
    cells: int = Field(6, ge=2, le=256, description="colours along a side")
    pattern_seed: int = Field(0, ge=0, description="which colours")

    def picture(self, height: int, width: int) -> Tensor:
        """The picture T: float64 (3, h, w) in [0, 1]."""
        drawn = np.random.default_rng(self.pattern_seed).uniform(0, 1, (1, 3, self.cells, self.cells))
        grown = interpolate(torch.from_numpy(drawn), (height, width), mode="bilinear", align_corners=True)
        return grown[0].clamp(0, 1)

    def _stamp(self, images: Tensor, rng: Randomness) -> tuple[Tensor, Tensor]:
        height, width = images.shape[2:]
        picture = self.picture(height, width).to(images.device)
        return images * (1 - self.ratio) + picture * self.ratio, everywhere(images)
