"""Text over an image."""

from __future__ import annotations

import torch
from torch import Tensor

from snellen.data.worlds.optotypes.factors import COLOUR_VALUES
from snellen.data.worlds.optotypes.glyphs import HEIGHT, dots
from snellen.data.worlds.optotypes.scene import Lettering
from snellen.data.worlds.stable_arithmetic import blend

#: Where the joined dots are cut: for the letters, and for the rim about them.
_LETTER, _RIM = 0.5, 0.12

#: Light letters have a dark rim and dark letters a light one, so that they can be read on any ground.
_LIGHT_FROM = 0.45

#: Changes when the same text comes to be written otherwise. In 1 the rim had no end below some 400 pixels.
VERSION = 2


def write_lettering(image: Tensor, lettering: Lettering) -> Tensor:
    """Write a text over one image: (3, h, h) in [0, 1] → the same, a new tensor."""
    red, green, blue = COLOUR_VALUES[lettering.colour]
    rim = 0.06 if 0.30 * red + 0.59 * green + 0.11 * blue >= _LIGHT_FROM else 0.96
    height = _joined_dots(lettering, image.shape[-1])
    for colour, cut in (((rim,) * 3, _RIM), ((red, green, blue), _LETTER)):
        coverage = _cut(height, cut, lettering, image.shape[-1]) * lettering.opacity
        image = blend(image, torch.tensor(colour)[:, None, None], coverage)
    return image


def _joined_dots(lettering: Lettering, size: int) -> Tensor:
    """Dots joined linearly, in [0, 1]; cut at one half they have round corners at any resolution."""
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
    return blend(upper, lower, share_y)


def _cut(height: Tensor, level: float, lettering: Lettering, size: int) -> Tensor:
    pixels_in_a_dot = lettering.height / HEIGHT * size / 2
    # Steep enough to be nothing where there is no dot, whatever the size: a low cut would shade the whole image.
    return (height - level).mul_(max(pixels_in_a_dot, 0.5 / level)).add_(0.5).clamp_(0, 1)
