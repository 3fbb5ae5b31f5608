"""Averages pictures drawn too large, so that edges are smooth, and rounds them as an image file would."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


def averaged(
    pixels: NDArray[np.uint8], covered: NDArray[np.bool_], factor: int
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Mean over squares of ``factor`` × ``factor`` pixels, with a white background put behind the object.

    >>> pixels, covered = averaged(np.zeros((2, 2, 3), np.uint8), np.array([[True, False]] * 2), 2)
    >>> pixels.tolist(), covered.tolist()
    ([[[128, 128, 128]]], [[128]])

    Args:
        pixels: uint8 (h · factor, w · factor, 3).
        covered: bool (h · factor, w · factor), where the object is.
        factor: edge of the squares.

    Returns:
        Pixels uint8 (h, w, 3) and coverage uint8 (h, w), 255 where the object covers the whole pixel.
    """
    height, width = covered.shape[0] // factor, covered.shape[1] // factor
    white = np.where(covered[..., None], pixels, np.uint8(255)).reshape(height, factor, width, factor, 3)
    share = covered.reshape(height, factor, width, factor)
    area = factor * factor
    # Integers throughout, halves rounded up: the same on every machine.
    mean = (white.sum(axis=(1, 3), dtype=np.int64) + area // 2) // area
    return mean.astype(np.uint8), ((share.sum(axis=(1, 3), dtype=np.int64) * 255 + area // 2) // area).astype(np.uint8)


def as_tensors(views: list[tuple[NDArray[np.uint8], NDArray[np.uint8]]], size: int) -> tuple[Tensor, Tensor]:
    """Images float32 (n, 3, h, w) and coverage float32 (n, h, w), both in [0, 1], of views in bytes."""
    if not views:
        return torch.zeros(0, 3, size, size), torch.zeros(0, size, size)
    pixels = torch.from_numpy(np.stack([pixels for pixels, _ in views]))
    covered = torch.from_numpy(np.stack([covered for _, covered in views]))
    return pixels.permute(0, 3, 1, 2).contiguous().float() / 255, covered.float() / 255
