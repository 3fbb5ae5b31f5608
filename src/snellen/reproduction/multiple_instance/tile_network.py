"""A convolutional network of four layers that sees tiles of 32 pixels and is trained with every way."""

from __future__ import annotations

from torch import Tensor, nn

#: Channels of the layers; the last are the length of a vector.
WIDTHS = (16, 32, 32, 64)


class TileNetwork(nn.Module):
    """Images (n, 3, h, w) in [0, 1], of even height and width → vectors (n, 64).

    Groups of channels are normalised, and not batches: in a batch of one bag each would depend on the others.

    >>> import torch
    >>> TileNetwork()(torch.rand(2, 3, 32, 32)).shape
    torch.Size([2, 64])
    """

    def __init__(self) -> None:
        super().__init__()
        channels, layers = 12, list[nn.Module]()
        for stride, width in zip((2, 2, 1, 1), WIDTHS, strict=True):
            layers += [nn.Conv2d(channels, width, 3, stride, 1, bias=False), nn.GroupNorm(8, width), nn.ReLU()]
            channels = width
        self.fold = nn.PixelUnshuffle(2)
        self.layers = nn.Sequential(*layers)

    def forward(self, images: Tensor) -> Tensor:
        """Means of the last maps."""
        maps: Tensor = self.layers(self.fold(images * 2 - 1))
        return maps.mean((2, 3))
