"""Three families of convolutional networks, small enough for minutes on a CPU.

Each keeps the idea of a large one: grouped convolutions in residual blocks (ResNeXt, arXiv 1611.05431), every layer fed
with all before it (DenseNet, arXiv 1608.06993), and a plain stack of 3 x 3 convolutions (VGG, arXiv 1409.1556).
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from snellen.core.errors import unknown_name

Family = Literal["grouped_residual", "densely_connected", "plain"]

#: In the order of the published study: ResNeXt, DenseNet, VGG.
FAMILIES: tuple[Family, ...] = ("grouped_residual", "densely_connected", "plain")


def small_network(family: str, class_count: int, *, blocks: int = 1) -> nn.Module:
    """Build a network of a family with initial weights from torch's global generator.

    >>> small_network("plain", 10).eval()(torch.rand(2, 3, 32, 32)).shape
    torch.Size([2, 10])

    Args:
        family: one of :data:`FAMILIES`.
        class_count: number of classes k.
        blocks: blocks at each resolution (layers of a dense block in fours); a teacher has more than its student.

    Raises:
        UnknownNameError: no such family.
    """
    built = {"grouped_residual": _grouped_residual, "densely_connected": _densely_connected, "plain": _plain}
    if family not in built:
        raise unknown_name("family", family, FAMILIES)
    return nn.Sequential(_Folded(), built[family](class_count, blocks))


def narrow_network(class_count: int, *, widths: tuple[int, int, int, int] = (16, 32, 48, 64)) -> nn.Module:
    """A plain stack that ends in a map of a quarter of the height and width, its mean and a linear layer.

    >>> narrow_network(10).eval()(torch.rand(2, 3, 40, 40)).shape
    torch.Size([2, 10])

    Args:
        class_count: number of classes k.
        widths: channels of the four units.
    """
    first, second, third, fourth = widths
    units = (_unit(12, first), _unit(first, second, 2), _unit(second, third), _unit(third, fourth))
    return nn.Sequential(_Folded(), *units, _head(fourth, class_count))


class _Folded(nn.Module):
    """Images (n, 3, h, w) in [0, 1] → (n, 12, h / 2, w / 2) in [−1, 1], so that no layer runs at full resolution."""

    def forward(self, images: Tensor) -> Tensor:
        return F.pixel_unshuffle(images, 2) * 2 - 1


def _unit(channels: int, out_channels: int, stride: int = 1) -> nn.Sequential:
    """3 x 3 convolution, BatchNorm, ReLU."""
    convolution = nn.Conv2d(channels, out_channels, 3, stride, 1, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(out_channels), nn.ReLU())


def _head(channels: int, class_count: int) -> nn.Sequential:
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, class_count))


class _GroupedBlock(nn.Module):
    """1 x 1, grouped 3 x 3, 1 x 1, beside a shortcut."""

    def __init__(self, channels: int, out_channels: int, stride: int, groups: int = 8) -> None:
        super().__init__()
        width = out_channels // 2
        self.body = nn.Sequential(
            nn.Conv2d(channels, width, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU(),
            nn.Conv2d(width, width, 3, stride, 1, groups=groups, bias=False), nn.BatchNorm2d(width), nn.ReLU(),
            nn.Conv2d(width, out_channels, 1, bias=False), nn.BatchNorm2d(out_channels),
        )  # fmt: skip
        same = stride == 1 and channels == out_channels
        shortcut = nn.Conv2d(channels, out_channels, 1, stride, bias=False)
        self.shortcut = nn.Identity() if same else nn.Sequential(shortcut, nn.BatchNorm2d(out_channels))

    def forward(self, maps: Tensor) -> Tensor:
        return F.relu(self.shortcut(maps) + self.body(maps))


def _grouped_residual(class_count: int, blocks: int) -> nn.Sequential:
    layers: list[nn.Module] = [_unit(12, 32)]
    before = 32
    for channels, stride in ((64, 2), (128, 1), (192, 2)):
        for block in range(blocks):
            layers.append(_GroupedBlock(before, channels, stride if block == 0 else 1))
            before = channels
    return nn.Sequential(*layers, _head(before, class_count))


class _DenseLayer(nn.Module):
    """A unit whose output is laid beside its input."""

    def __init__(self, channels: int, growth: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.BatchNorm2d(channels), nn.ReLU(), nn.Conv2d(channels, growth, 3, padding=1, bias=False)
        )

    def forward(self, maps: Tensor) -> Tensor:
        return torch.cat([maps, self.body(maps)], 1)


def _densely_connected(class_count: int, blocks: int, growth: int = 24) -> nn.Sequential:
    layers: list[nn.Module] = [_unit(12, 32), nn.AvgPool2d(2)]
    before = 32
    for stage in range(2):
        for _ in range(4 * blocks):
            layers.append(_DenseLayer(before, growth))
            before += growth
        if stage < 1:
            layers += [nn.BatchNorm2d(before), nn.ReLU(), nn.Conv2d(before, before // 2, 1, bias=False)]
            layers.append(nn.AvgPool2d(2))
            before //= 2
    return nn.Sequential(*layers, nn.BatchNorm2d(before), nn.ReLU(), _head(before, class_count))


def _plain(class_count: int, blocks: int) -> nn.Sequential:
    layers, before = [_unit(12, 32)], 32
    for channels, stride in ((48, 2), (64, 1), (96, 2)):
        for block in range(blocks):
            layers.append(_unit(before, channels, stride if block == 0 else 1))
            before = channels
    return nn.Sequential(*layers, _head(before, class_count))
