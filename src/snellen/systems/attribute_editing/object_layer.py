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

from snellen.core.errors import RejectedImageError


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


def resampled(layer: ObjectLayer, scale: float, degrees: float, nudge: tuple[float, float] = (0.0, 0.0)) -> ObjectLayer:
    """The object scaled and turned clockwise about its centre, and moved inside by as little as that needs.

    Colours are bilinear, of several places in each pixel where the object becomes smaller; the mask is the nearest
    pixel's. A scale of 1 without a turn gives the object as it is.

    Args:
        layer: the object.
        scale: factor of its lengths, above 0.
        degrees: clockwise.
        nudge: pixels down and right beside that, below half a pixel.

    Raises:
        RejectedImageError: it would be larger than the image, or vanish.
    """
    if scale == 1 and degrees % 360 == 0 and nudge == (0.0, 0.0):
        return layer
    sampled = _Sampled.of(layer, scale, degrees, nudge)
    weight = layer.mask.double()[None]
    mask = sampled.taken(weight, 0.0, 0.0, "nearest")[0] > 0.5
    if not bool(mask.any()):
        raise RejectedImageError(f"its object, scaled by {scale:.3g}, would be smaller than a pixel")
    across = max(1, math.ceil(1 / scale))
    steps = ((torch.arange(across, dtype=torch.float64) + 0.5) / across - 0.5).tolist()
    parts = torch.cat([layer.image.double() * weight, weight])
    mixed = torch.stack([sampled.taken(parts, down, right, "bilinear") for down in steps for right in steps]).mean(0)
    # Where the mask's pixel is the object's but no place of it is, to the last rounding: the nearest pixel.
    nearest = sampled.taken(layer.image.double(), 0.0, 0.0, "nearest")
    colours = torch.where(mixed[3:] > 1e-6, mixed[:3] / mixed[3:].clamp(min=1e-6), nearest)
    return ObjectLayer((colours * mask).clamp(0, 1).to(layer.image.dtype), mask)


def resampled_share(layer: ObjectLayer, scale: float, nudge: tuple[float, float]) -> float:
    """Share of the image that the object covers when it is scaled, without making its colours; 0 where it vanishes.

    Raises:
        RejectedImageError: it would be larger than the image.
    """
    sampled = _Sampled.of(layer, scale, 0.0, nudge)
    return float((sampled.taken(layer.mask.double()[None], 0.0, 0.0, "nearest") > 0.5).double().mean())


@dataclass(frozen=True)
class _Sampled:
    """Where each pixel of a moved object comes from.

    Attributes:
        centre: the object's, row and column.
        offset: of it, down and right, in pixels.
        scale: factor of lengths.
        turn: cosine and sine of the angle.
    """

    centre: tuple[float, float]
    offset: tuple[float, float]
    scale: float
    turn: tuple[float, float]

    @classmethod
    def of(cls, layer: ObjectLayer, scale: float, degrees: float, nudge: tuple[float, float]) -> _Sampled:
        turn = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
        offset = _inside(layer, scale, turn, nudge)
        if offset is None:
            raise RejectedImageError(f"its object, scaled by {scale:.3g} and turned by {degrees:.0f}°, would not fit")
        return cls(layer.centre, offset, scale, turn)

    def taken(self, values: Tensor, down: float, right: float, mode: str) -> Tensor:
        """Values (c, h, w) at the places of all pixels, moved by parts of a pixel."""
        (row, column), (cosine, sine) = self.centre, self.turn
        height, width = values.shape[1:]
        y = torch.arange(height, dtype=torch.float64)[:, None] + down - (row + self.offset[0])
        x = torch.arange(width, dtype=torch.float64)[None] + right - (column + self.offset[1])
        # The turn and the scale the other way round.
        source_x, source_y = (cosine * x + sine * y) / self.scale + column, (-sine * x + cosine * y) / self.scale + row
        grid = torch.stack([(2 * source_x + 1) / width - 1, (2 * source_y + 1) / height - 1], -1)
        found = functional.grid_sample(
            values[None], grid[None].to(values), mode=mode, padding_mode="zeros", align_corners=False
        )
        return found[0]


def _inside(
    layer: ObjectLayer, scale: float, turn: tuple[float, float], nudge: tuple[float, float]
) -> tuple[float, float] | None:
    """How far the object moves down and right, to stay inside; None where it does not fit at all."""
    places = layer.mask.nonzero().double()
    (row, column), (cosine, sine) = layer.centre, turn
    y, x = (places[:, 0] - row) * scale, (places[:, 1] - column) * scale
    moved = sine * x + cosine * y + row + nudge[0], cosine * x - sine * y + column + nudge[1]
    found = []
    for values, side, own in zip(moved, layer.mask.shape, nudge, strict=True):
        # Half a scaled pixel beyond the outermost centres, as far as the nearest pixel reaches.
        least, most = float(values.min()) - scale / 2 + 0.5, float(values.max()) + scale / 2 - 0.5
        if most - least > side - 1 + 1e-6:
            return None
        found.append(own + max(-least, 0.0) - max(most - (side - 1), 0.0))
    return found[0], found[1]
