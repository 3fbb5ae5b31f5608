"""The network of the embedded latent generator: a vector, a linear layer, and convolutions that double the size."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn

#: Channels of the smallest map (a quarter of an eighth of the image), and behind each doubling.
WIDTHS = (96, 48, 32, 16)

#: Side of the smallest map, pixels.
SMALLEST = 4


class DecoderNetwork(nn.Module):
    """A vector (n, dimension) → an image (n, 3, s, s) in [0, 1], with s = 4 · 2^(number of widths − 1).

    Args:
        dimension: of the vector.
        widths: channels of the smallest map, and behind each doubling of its size.
    """

    def __init__(self, dimension: int, widths: Sequence[int] = WIDTHS) -> None:
        super().__init__()
        self.first = widths[0]
        self.spread = nn.Linear(dimension, self.first * SMALLEST**2)
        blocks: list[nn.Module] = []
        for before, after in pairwise(widths):
            blocks += [
                nn.Upsample(scale_factor=2, mode="nearest"),
                nn.Conv2d(before, after, 3, 1, 1),
                nn.SiLU(),
            ]
        self.body = nn.Sequential(nn.SiLU(), *blocks, nn.Conv2d(widths[-1], 3, 3, 1, 1), nn.Sigmoid())

    def forward(self, latents: Tensor) -> Tensor:
        """Decode."""
        images: Tensor = self.body(self.spread(latents).unflatten(1, (self.first, SMALLEST, SMALLEST)))
        return images
