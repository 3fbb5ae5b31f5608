"""What lies behind the objects: six grounds, told apart by colour and by pattern."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from snellen.data.worlds.optotypes.factors import Background
from snellen.data.worlds.optotypes.lattice_noise import cell_values, grain, smooth, uniform
from snellen.data.worlds.stable_arithmetic import length, sine

Draw = Callable[[Tensor, Tensor, Tensor], Tensor]


def background(name: Background, seeds: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Draw one background for several scenes: float32 (n, 3, h, h) in [0, 1].

    Args:
        name: which.
        seeds: of the scenes, int64 (n,).
        x: place of pixels, (1, h, h), −1 to 1.
        y: the same, downwards.
    """
    brighter = uniform(seeds, "background level", 1).mul_(0.12).add_(0.94)[:, :, None, None]
    return _DRAW[name](seeds, x, y).mul_(brighter).clamp_(0, 1)


def _mix(first: tuple[float, float, float], second: tuple[float, float, float], share: Tensor) -> Tensor:
    """Colours between two: (n, 3, h, w) of shares (n, h, w)."""
    start, end = torch.tensor(first)[:, None, None], torch.tensor(second)[:, None, None]
    return start + (end - start) * share[:, None]


def _grey(seeds: Tensor, x: Tensor, y: Tensor) -> Tensor:
    share = smooth(seeds, "grey", x.shape[-1], 0.9)
    return _mix((0.47, 0.47, 0.48), (0.58, 0.58, 0.57), share)


def _grass(seeds: Tensor, x: Tensor, y: Tensor) -> Tensor:
    size = x.shape[-1]
    blades = smooth(seeds, "blades", size, 0.07, 0.35)
    share = blades.mul_(0.7).add_(smooth(seeds, "lawn", size, 0.5).mul_(0.3))
    return _mix((0.13, 0.24, 0.08), (0.50, 0.60, 0.26), share)


def _sand(seeds: Tensor, x: Tensor, y: Tensor) -> Tensor:
    size = x.shape[-1]
    ripples = sine((y + smooth(seeds, "ripples", size, 0.7) * 0.5) * 17).mul_(0.5).add_(0.5)
    share = ripples.mul_(0.55).add_(_grain(seeds, "grains", x).mul_(0.45))
    return _mix((0.64, 0.53, 0.36), (0.86, 0.76, 0.57), share)


def _brick(seeds: Tensor, x: Tensor, y: Tensor) -> Tensor:
    shift = uniform(seeds, "bricks", 2)[:, :, None, None]
    height, width, mortar = 0.30, 0.62, 0.045
    row = ((y + shift[:, 0]) / height).floor()
    along = (x + shift[:, 1]) / width + row * 0.5
    column = along.floor()
    pixel = 2 / x.shape[-1]
    to_side = (along - column - 0.5).abs_().neg_().add_(0.5).mul_(width)
    to_edge = ((y + shift[:, 0]) / height - row - 0.5).abs_().neg_().add_(0.5).mul_(height)
    stone = (torch.minimum(to_side, to_edge) - mortar / 2).div_(pixel).add_(0.5).clamp_(0, 1)
    tone = cell_values(seeds, "tone", column.to(torch.int32), row.to(torch.int32))
    bricks = _mix((0.46, 0.20, 0.15), (0.66, 0.34, 0.25), tone)
    return bricks * stone[:, None] + 0.70 * (1 - stone[:, None])


def _water(seeds: Tensor, x: Tensor, y: Tensor) -> Tensor:
    size = x.shape[-1]
    swell = smooth(seeds, "swell", size, 0.6, 0.3)
    waves = sine(y * 13 + swell * 7).mul_(0.5).add_(0.5)
    share = waves.mul_(0.6).add_(swell.mul_(0.4))
    return _mix((0.10, 0.25, 0.38), (0.42, 0.62, 0.72), share)


def _night(seeds: Tensor, x: Tensor, y: Tensor) -> Tensor:
    size = x.shape[-1]
    sky = _mix((0.03, 0.03, 0.10), (0.12, 0.13, 0.27), smooth(seeds, "sky", size, 1.1))
    cell = 0.16
    column, row = (x / cell).floor(), (y / cell).floor()
    wide, high = column.to(torch.int32), row.to(torch.int32)
    there = cell_values(seeds, "star", wide, high)
    to_x = x / cell - column - 0.25 - 0.5 * cell_values(seeds, "star x", wide, high)
    to_y = y / cell - row - 0.25 - 0.5 * cell_values(seeds, "star y", wide, high)
    radius = 0.20 * (there > 0.72)
    star = (radius - length(to_x, to_y)).mul_(cell * size / 2).add_(0.5).clamp_(0, 1).mul_(radius > 0)
    return sky + (0.85 - sky) * star[:, None]


def _grain(seeds: Tensor, stream: str, x: Tensor) -> Tensor:
    """Grain with cells of 1/32 of the image's side, or of a pixel where that is larger."""
    size = x.shape[-1]
    return grain(seeds, stream, size, size) if size <= 32 else smooth(seeds, stream, size, 2 / 32)


_DRAW: dict[Background, Draw] = {
    "grey": _grey,
    "grass": _grass,
    "sand": _sand,
    "brick": _brick,
    "water": _water,
    "night": _night,
}
