"""Numbers in float64, also those of a device that has none."""

from __future__ import annotations

import torch
from torch import Tensor


def lacks_float64(device: torch.device) -> bool:
    """Whether a device knows no float64: Apple's Metal.

    >>> lacks_float64(torch.device("mps")), lacks_float64(torch.device("cuda"))
    (True, False)
    """
    return device.type == "mps"


def in_float64(values: Tensor) -> Tensor:
    """The same values in float64, on the same device; on the CPU where that is Apple's Metal, which knows no float64.

    >>> in_float64(torch.tensor([0.5])).dtype
    torch.float64
    """
    return values.cpu().double() if lacks_float64(values.device) else values.double()


def widest(device: torch.device) -> torch.dtype:
    """The most precise type of numbers on a device: float64, and float32 on Apple's Metal.

    >>> widest(torch.device("cpu"))
    torch.float64
    """
    return torch.float32 if lacks_float64(device) else torch.float64
