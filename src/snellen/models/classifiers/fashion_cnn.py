"""The embedded default classifier: a small CNN for 28-pixel product thumbnails (Fashion-MNIST)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class FashionCNN(nn.Module):
    """A residual CNN: 234,890 parameters and 9.2 million multiply-adds for an image with the default widths.

    Prepared images have three channels, so the channels are averaged to grey first. The mean (rather than the first
    channel, or luma weights) gives all three channels the same gradient: a gradient attack that starts from a grey
    image stays grey. The grey image is then folded to four half-resolution planes, so that no layer runs at full
    resolution; ``stage1`` works at 14 x 14, ``stage2`` at 7 x 7, ``stage3`` at 4 x 4.

    >>> model = FashionCNN().eval()
    >>> model(torch.rand(2, 3, 28, 28)).shape
    torch.Size([2, 10])

    Args:
        widths: channels of the three stages.
        class_count: number of classes k.
        dropout: share of pooled features that is dropped in training.
        colours: fold the three channels to twelve planes instead of their mean to four.
    """

    def __init__(
        self,
        *,
        widths: Sequence[int] = (32, 96, 128),
        class_count: int = 10,
        dropout: float = 0.0,
        colours: bool = False,
    ) -> None:
        super().__init__()
        first, second, third = widths
        self.colours = colours
        self.fold = nn.PixelUnshuffle(2)
        self.stem = ConvolutionUnit(12 if colours else 4, first)
        self.stage1 = ResidualUnit(first)
        self.reduce1 = ConvolutionUnit(first, second, stride=2)
        self.stage2 = ResidualUnit(second)
        self.stage3 = ConvolutionUnit(second, third, stride=2)
        self.pool = MeanMaxPool()
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(2 * third, class_count)

    def forward(self, images: Tensor) -> Tensor:
        """Classify prepared images: float (n, 3, h, w) in [0, 1], even h and w (28 in training) → logits (n, k)."""
        seen = images if self.colours else images.mean(1, keepdim=True)
        maps = self.stage1(self.stem(self.fold(seen)))
        maps = self.stage3(self.stage2(self.reduce1(maps)))
        logits: Tensor = self.head(self.dropout(self.pool(maps)))
        return logits


class ConvolutionUnit(nn.Module):
    """3 x 3 convolution, BatchNorm, ReLU: (n, c, h, w) → (n, c', h / stride, w / stride)."""

    def __init__(self, channels: int, out_channels: int, *, stride: int = 1) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(channels, out_channels, 3, stride=stride, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(out_channels)

    def forward(self, maps: Tensor) -> Tensor:
        """Run the unit."""
        return F.relu(self.norm(self.convolution(maps)))


class ResidualUnit(nn.Module):
    """ReLU of the input plus its convolved and normalised self: (n, c, h, w) → (n, c, h, w)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(channels)

    def forward(self, maps: Tensor) -> Tensor:
        """Run the unit."""
        return F.relu(maps + self.norm(self.convolution(maps)))


class MeanMaxPool(nn.Module):
    """Spatial mean beside spatial maximum: (n, c, h, w) → (n, 2 c)."""

    def forward(self, maps: Tensor) -> Tensor:
        """Pool."""
        return torch.cat([maps.mean((2, 3)), maps.amax((2, 3))], 1)
