"""Text over an image."""

from __future__ import annotations

import torch
from torch import Tensor

from snellen.data.optotypes.factors import COLOUR_VALUES
from snellen.data.optotypes.glyphs import HEIGHT, dots
from snellen.data.optotypes.scene import Lettering
from snellen.data.stable_arithmetic import blend


def write_lettering(image: Tensor, lettering: Lettering) -> Tensor:
    """Write a text over one image: (3, h, h) in [0, 1] → the same, a new tensor."""
    colour = torch.tensor(COLOUR_VALUES[lettering.colour])[:, None, None]
    return blend(image, colour, letter_coverage(lettering, image.shape[-1]) * lettering.opacity)


def letter_coverage(lettering: Lettering, size: int) -> Tensor:
    """Share of each pixel that letters cover: float32 (size, size).

    Dots are joined linearly and cut at one half, which rounds their corners, at any resolution.
    """
    canvas = dots(lettering.text)
    dot = lettering.height / HEIGHT
    place = (torch.arange(size, dtype=torch.float32) + 0.5) * (2 / size) - 1
    row = ((place - lettering.y) / dot + (canvas.shape[0] - 1) / 2).clamp_(0, canvas.shape[0] - 1)
    column = ((place - lettering.x) / dot + (canvas.shape[1] - 1) / 2).clamp_(0, canvas.shape[1] - 1)
    above, left = row.floor().to(torch.int64), column.floor().to(torch.int64)
    below, right = (above + 1).clamp_(max=canvas.shape[0] - 1), (left + 1).clamp_(max=canvas.shape[1] - 1)
    share_y, share_x = (row - above)[:, None], (column - left)[None]
    upper = blend(canvas[above][:, left], canvas[above][:, right], share_x)
    lower = blend(canvas[below][:, left], canvas[below][:, right], share_x)
    height = blend(upper, lower, share_y)
    return height.sub_(0.5).mul_(max(dot * size / 2, 1.0)).add_(0.5).clamp_(0, 1)
