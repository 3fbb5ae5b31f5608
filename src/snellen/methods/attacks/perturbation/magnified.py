"""A change of an image as a picture."""

from __future__ import annotations

from torch import Tensor


def magnified(change: Tensor) -> tuple[Tensor, float]:
    """A change (3, h, w) as a picture around mid-grey, and by what it was multiplied to fill the range of values.

    >>> import torch
    >>> picture, factor = magnified(torch.tensor([[[0.0, 0.125]]]))
    >>> picture.tolist(), factor
    ([[[0.5, 1.0]]], 4.0)
    """
    largest = float(change.abs().max())
    factor = 0.5 / largest if largest else 1.0
    factor = float(f"{factor:.3g}")
    return (0.5 + change * factor).clamp(0, 1), factor
