"""An object cut out of its image, and the one resampling that scales, turns and moves it.

Each result is sampled once from the original, never from an earlier result, so that repeated edits blur nothing twice.
Only the object's own pixels are mixed: no background of the original comes along at the outline.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from snellen.errors import RejectedImageError


@dataclass(frozen=True, eq=False)
class ObjectLayer:
    """An object and where it is.

    Attributes:
        image: float (3, h, w) in [0, 1]; only pixels of the mask count.
        mask: bool (h, w), not empty.
    """

    image: Tensor
    mask: Tensor

    @property
    def share(self) -> float:
        """Share of the image that it covers."""
        return float(self.mask.double().mean())

    @property
    def centre(self) -> tuple[float, float]:
        """Mean place of its pixels: row and column, (0, 0) is the centre of the first pixel."""
        rows, columns = self.mask.nonzero().double().mean(0).tolist()
        return rows, columns

    @property
    def box(self) -> tuple[int, int, int, int]:
        """First row and column, and those after the last."""
        rows, columns = self.mask.any(1).nonzero().flatten(), self.mask.any(0).nonzero().flatten()
        return int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1


def shifted(layer: ObjectLayer, down: int, right: int) -> ObjectLayer:
    """The object moved by whole pixels, bit for bit.

    Raises:
        RejectedImageError: a part of it would leave the image.
    """
    top, left, bottom, end = layer.box
    height, width = layer.mask.shape
    if top + down < 0 or left + right < 0 or bottom + down > height or end + right > width:
        raise RejectedImageError(f"its object, moved by {down} and {right} pixels, would leave the image")
    image, mask = torch.zeros_like(layer.image), torch.zeros_like(layer.mask)
    to = slice(top + down, bottom + down), slice(left + right, end + right)
    image[:, *to], mask[to] = layer.image[:, top:bottom, left:end], layer.mask[top:bottom, left:end]
    return ObjectLayer(image, mask)


def resampled(layer: ObjectLayer, scale: float, degrees: float) -> ObjectLayer:
    """The object scaled and turned clockwise about its centre, and moved inside by as little as that needs.

    Colours are bilinear, of several places in each pixel where the object becomes smaller; the mask is the nearest
    pixel's. A scale of 1 without a turn gives the object as it is.

    Args:
        layer: the object.
        scale: factor of its lengths, above 0.
        degrees: clockwise.

    Raises:
        RejectedImageError: it would be larger than the image, or vanish.
    """
    if scale == 1 and degrees % 360 == 0:
        return layer
    row, column = layer.centre
    offset = _inside(layer, scale, degrees)
    if offset is None:
        raise RejectedImageError(f"its object, scaled by {scale:.3g} and turned by {degrees:.0f}°, would not fit")
    height, width = layer.mask.shape
    cosine, sine = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    across = max(1, math.ceil(1 / scale))
    steps = (torch.arange(across, dtype=torch.float64) + 0.5) / across - 0.5

    def sampled(values: Tensor, down: float, right: float, mode: str) -> Tensor:
        y = torch.arange(height, dtype=torch.float64)[:, None] + down - (row + offset[0])
        x = torch.arange(width, dtype=torch.float64)[None] + right - (column + offset[1])
        # Where a pixel comes from: the turn and the scale the other way round.
        source_x, source_y = (cosine * x + sine * y) / scale + column, (-sine * x + cosine * y) / scale + row
        grid = torch.stack([(2 * source_x + 1) / width - 1, (2 * source_y + 1) / height - 1], -1)
        taken = functional.grid_sample(
            values[None].double(), grid[None].to(values.device), mode=mode, padding_mode="zeros", align_corners=False
        )
        return taken[0]

    weight = layer.mask.double()[None]
    mask = sampled(weight, 0.0, 0.0, "nearest")[0] > 0.5
    if not bool(mask.any()):
        raise RejectedImageError(f"its object, scaled by {scale:.3g}, would be smaller than a pixel")
    parts = torch.cat([layer.image.double() * weight, weight])
    mixed = torch.stack([sampled(parts, down, right, "bilinear") for down in steps for right in steps]).mean(0)
    # Where the mask's pixel is the object's but no place of it is, to the last rounding: the nearest pixel.
    nearest = sampled(layer.image, 0.0, 0.0, "nearest")
    colours = torch.where(mixed[3:] > 1e-6, mixed[:3] / mixed[3:].clamp(min=1e-6), nearest)
    return ObjectLayer((colours * mask).clamp(0, 1).to(layer.image.dtype), mask)


def _inside(layer: ObjectLayer, scale: float, degrees: float) -> tuple[float, float] | None:
    """How far the object must be moved down and right to stay inside; None where it does not fit at all."""
    places = layer.mask.nonzero().double()
    row, column = layer.centre
    y, x = (places[:, 0] - row) * scale, (places[:, 1] - column) * scale
    cosine, sine = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    moved = (sine * x + cosine * y + row, cosine * x - sine * y + column)
    found = []
    for values, side in zip(moved, layer.mask.shape, strict=True):
        # Half a scaled pixel beyond the outermost centres, as far as the nearest pixel reaches.
        least, most = float(values.min()) - scale / 2 + 0.5, float(values.max()) + scale / 2 - 0.5
        if most - least > side - 1 + 1e-6:
            return None
        found.append(max(-least, 0.0) - max(most - (side - 1), 0.0))
    return found[0], found[1]
