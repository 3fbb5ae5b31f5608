"""What a layer gives, as one map for each unit, for any kind of layer."""

from __future__ import annotations

import math

import torch.nn.functional as F
from torch import Tensor

from snellen.core.errors import UnsupportedError

#: Tokens before those of the image: none, a class token, one of distillation as well, or a class token and registers.
_LEADING = (0, 1, 2, 5, 9)


def unit_maps(output: Tensor, layer: str) -> Tensor:
    """Maps of the units of a layer, (n, u, h, w).

    Maps (n, u, h, w) stay. Of tokens (n, t, u), the leading ones (of the class, registers) are left out, and the others
    are laid out as the square that they came from; vectors (n, u) are maps of one place.

    >>> import torch
    >>> unit_maps(torch.zeros(2, 1 + 49, 8), "blocks.0.mlp.act").shape, unit_maps(torch.zeros(2, 5), "head").shape
    (torch.Size([2, 8, 7, 7]), torch.Size([2, 5, 1, 1]))

    Raises:
        UnsupportedError: an output of another form, or tokens that are no square.
    """
    if output.ndim == 4:
        return output
    if output.ndim == 2:
        return output[:, :, None, None]
    if output.ndim == 3:
        for leading in _LEADING:
            side = math.isqrt(max(output.shape[1] - leading, 0))
            if side and side * side == output.shape[1] - leading:
                return output[:, leading:].transpose(1, 2).unflatten(2, (side, side))
    raise UnsupportedError(
        f"layer {layer!r} gives {tuple(output.shape)}; units are found in maps (n, units, h, w), vectors "
        f"(n, units), and tokens (n, tokens, units) of square images. Name another layer"
    )


def upsampled(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """Maps (n, h, w) at another height and width, bilinear: (n, *size)."""
    return F.interpolate(maps[:, None], size, mode="bilinear", align_corners=False)[:, 0]
