"""How an encoder begins: maps without what all images share, and codes of mean 0 and deviation 1.

The deviation follows Mishkin and Matas, "All you need is a good init", ICLR 2016, arXiv 1511.06422. The published
training begins with the layers' usual weights.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Standardised(nn.Module):
    """Maps without their mean over images at each place, over the deviation of each channel; first, maps as they are.

    A code shows how images differ. In networks that nobody trained, what all images share is tens of times as large.

    Args:
        channels: of the maps (n, c, h, w).
        size: their height and width.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, channels: int, size: tuple[int, int]) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(1, channels, *size))
        self.register_buffer("deviation", torch.ones(1, channels, 1, 1))

    def fit(self, maps: Tensor) -> Tensor:
        """Take the figures of maps (n, c, h, w), n ≥ 2; returns the standardised maps."""
        self.mean.copy_(maps.mean(0, keepdim=True))
        spread = (maps - self.mean).square().mean((0, 2, 3), keepdim=True).sqrt()
        self.deviation.copy_(torch.where(spread > 0, spread, 1.0))
        return self(maps)

    def forward(self, maps: Tensor) -> Tensor:
        """Maps of the same shape."""
        return (maps - self.mean) / self.deviation


def rescale(layer: nn.Linear, made: Tensor) -> None:
    """Bring what a linear layer made, (n, k), to mean 0 and deviation 1 over images, by its weights.

    Mishkin and Matas, "All you need is a good init", ICLR 2016. A number that is equal for all images is only centred.
    """
    spread = made.std(0)
    spread = torch.where(spread > 0, spread, 1.0)
    with torch.no_grad():
        layer.weight.div_(spread[:, None])
        layer.bias.sub_(made.mean(0)).div_(spread)
