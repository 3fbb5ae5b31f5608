"""What digital processing does: pixelation."""

from __future__ import annotations

import torch
from torch import Tensor


def box_resampling(source: int, target: int) -> Tensor:
    """Matrix of Pillow's BOX filter along one axis: float64 (target, source), rows sum to 1.

    Each target pixel averages, unweighted, the source pixels whose centres fall into its interval.
    """
    scale = source / target
    width = max(scale, 1.0)
    # Pillow's own order of operations: ties at an interval's end must fall the same way.
    centres = (torch.arange(target, dtype=torch.float64)[:, None] + 0.5) * scale
    pixels = torch.arange(source, dtype=torch.float64)[None]
    positions = (pixels - centres + 0.5) * (1.0 / width)
    first, last = (centres - 0.5 * width + 0.5).trunc(), (centres + 0.5 * width + 0.5).trunc()
    inside = ((positions > -0.5) & (positions <= 0.5) & (pixels >= first) & (pixels < last)).double()
    return inside / inside.sum(1, keepdim=True)


def pixelate(images: Tensor, factor: float) -> Tensor:
    """Shrink the sides to ``int(side · factor)`` and enlarge again, both with a box filter: (n, c, h, w) in [0, 1]."""
    for axis in (2, 3):
        side = images.shape[axis]
        small = max(int(side * factor), 1)
        there_and_back = box_resampling(small, side) @ box_resampling(side, small)
        images = torch.tensordot(images, there_and_back.to(images), dims=([axis], [1])).movedim(-1, axis)
    return images.contiguous().clamp_(0, 1)
