"""Residual networks for CIFAR: 6 n + 2 layers in three stages (He et al. 2016, arXiv 1512.03385, section 4.2)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from snellen.core.errors import InputError

#: Mean and deviation of the training images of CIFAR-10, by which the network normalises.
MEAN, DEVIATION = (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)


class CifarResNet(nn.Module):
    """A residual network whose shortcuts have no weights: 1.7 million of them with 110 layers.

    >>> CifarResNet(depth=8).eval()(torch.rand(2, 3, 32, 32)).shape
    torch.Size([2, 10])

    Args:
        depth: 6 n + 2, with n blocks a stage: 20, 32, 44, 56, 110.
        class_count: number of classes k.
        width: channels of the first stage; the others have twice and four times as many.

    Raises:
        InputError: another depth.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, *, depth: int = 110, class_count: int = 10, width: int = 16) -> None:
        super().__init__()
        if depth < 8 or (depth - 2) % 6:
            raise InputError(f"a residual network for CIFAR has 6 n + 2 layers, such as 20 or 110; got {depth}")
        self.register_buffer("mean", torch.tensor(MEAN).view(-1, 1, 1), persistent=False)
        self.register_buffer("deviation", torch.tensor(DEVIATION).view(-1, 1, 1), persistent=False)
        self.stem = nn.Sequential(nn.Conv2d(3, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU())
        blocks, channels = [], width
        for stage in range(3):
            for block in range((depth - 2) // 6):
                wanted = width * 2**stage
                blocks.append(_Block(channels, wanted, stride=2 if stage and not block else 1))
                channels = wanted
        self.blocks = nn.Sequential(*blocks)
        self.head = nn.Linear(channels, class_count)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight)

    def forward(self, images: Tensor) -> Tensor:
        """Classify images (n, 3, h, w) in [0, 1], or under noise → logits (n, k)."""
        maps = self.blocks(self.stem((images - self.mean) / self.deviation))
        logits: Tensor = self.head(maps.mean((2, 3)))
        return logits


class _Block(nn.Module):
    """Two 3 x 3 convolutions beside a shortcut, which leaves out every second pixel and adds empty channels."""

    def __init__(self, channels: int, out_channels: int, *, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(channels, out_channels, 3, stride, 1, bias=False), nn.BatchNorm2d(out_channels), nn.ReLU(),
            nn.Conv2d(out_channels, out_channels, 3, 1, 1, bias=False), nn.BatchNorm2d(out_channels),
        )  # fmt: skip
        self.stride, self.added = stride, out_channels - channels

    def forward(self, maps: Tensor) -> Tensor:
        """Run the block."""
        beside = F.pad(maps[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.added))
        return F.relu(beside + self.body(maps))
