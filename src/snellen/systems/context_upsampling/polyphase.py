"""A transposed convolution of stride 2 as four ordinary ones: where its context comes from, and a way to compute it.

The kernel w splits into four, w_ab[i, j] = w[2i + a, 2j + b]; each makes one of the four interleaved parts of the
output. Pixel shuffle is the same with four kernels that have nothing to do with each other. K = 7 gives parts of 4 and
3 taps a side, K = 11 of 6 and 5, K = 3 of 2 and 1, K = 2 of 1: this is the context that differs.

PyTorch's own transposed convolution is faster on the CPUs that were tried; this one is for devices where it is not.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from snellen.core.errors import InputError
from snellen.systems.context_upsampling.upsampling import LargeContextUpsampling, merged


@dataclass(frozen=True)
class Phase:
    """One of the two interleaved parts of an axis.

    Attributes:
        first: number of the first of its taps in the kernel, which takes every second.
        taps: how many.
        before: places of the input that it reads before its own.
        after: and behind it.
    """

    first: int
    taps: int
    before: int
    after: int


def phases(kernel: int, padding: int) -> tuple[Phase, Phase]:
    """Both parts of one axis.

    >>> [phase.taps for phase in phases(7, 3)], [phase.taps for phase in phases(11, 5)], phases(2, 0)[0].taps
    ([3, 4], [5, 6], 1)
    """
    found = []
    for phase in (0, 1):
        first = (phase + padding) % 2
        taps = (kernel - first + 1) // 2
        # Output 2m + phase reads input m + d through tap phase + padding − 2d.
        after = (phase + padding - first) // 2
        found.append(Phase(first, taps, taps - 1 - after, after))
    return found[0], found[1]


def phase_kernels(weight: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """w_00, w_01, w_10, w_11 of kernels (..., K, K): each (..., ⌈(K − a) / 2⌉, ⌈(K − b) / 2⌉)."""
    return (
        weight[..., 0::2, 0::2],
        weight[..., 0::2, 1::2],
        weight[..., 1::2, 0::2],
        weight[..., 1::2, 1::2],
    )


def by_phases(layer: nn.ConvTranspose2d, maps: Tensor) -> Tensor:
    """What the layer gives, by four ordinary convolutions and interleaving: (n, C_in, h, w) → (n, C_out, 2h, 2w).

    >>> from snellen.systems.context_upsampling.upsampling import transposed
    >>> layer, maps = transposed(2, 2, 7, groups=2), torch.rand(1, 2, 3, 4)
    >>> torch.allclose(by_phases(layer, maps), layer(maps), atol=1e-6)
    True

    Args:
        layer: of stride 2, made by :func:`snellen.systems.context_upsampling.upsampling.transposed`.
        maps: (n, C_in, h, w).
    """
    groups, kernel = layer.groups, layer.kernel_size[0]
    parts = phases(kernel, int(layer.padding[0]))
    # (C_in, C_out / g, K, K) as an ordinary convolution has it: (C_out, C_in / g, K, K).
    inputs, outputs = layer.in_channels // groups, layer.out_channels // groups
    weight = layer.weight.view(groups, inputs, outputs, kernel, kernel).transpose(1, 2).flatten(0, 1)
    count, _, height, width = maps.shape
    whole = maps.new_empty(count, layer.out_channels, height, 2, width, 2)
    for row, down in enumerate(parts):
        for column, across in enumerate(parts):
            taps = weight[..., down.first :: 2, across.first :: 2].flip(-1, -2)
            seen = F.pad(maps, (across.before, across.after, down.before, down.after))
            whole[:, :, :, row, :, column] = F.conv2d(seen, taps, layer.bias, groups=groups)
    return whole.view(count, layer.out_channels, 2 * height, 2 * width)


def equivalent_kernel(layer: nn.Module) -> Tensor:
    """The kernel of zero insertion and one filter that a way of upsampling amounts to: (C_in, C_out / g, K', K').

    Of a large context layer the sum of both paths; of pixel shuffle the four small kernels, interleaved to twice their
    side; of an interpolation and a convolution both, one after the other.

    Args:
        layer: made by :func:`snellen.systems.context_upsampling.upsampling.upsampling`.

    Raises:
        InputError: another module, or bicubic interpolation, whose filter is longer and left out.
    """
    if isinstance(layer, LargeContextUpsampling):
        return merged(layer).large.weight.detach()
    if isinstance(layer, nn.ConvTranspose2d):
        return layer.weight.detach()
    parts = list(layer.children()) if isinstance(layer, nn.Sequential) else []
    if len(parts) == 2 and isinstance(parts[0], nn.Conv2d) and isinstance(parts[1], nn.PixelShuffle):
        weight = parts[0].weight.detach()
        side, inputs, outputs = weight.shape[-1], weight.shape[1], weight.shape[0] // 4
        own = weight.view(outputs, 2, 2, inputs, side, side).permute(3, 0, 4, 1, 5, 2).flip(2, 4)
        return own.reshape(inputs, outputs, 2 * side, 2 * side)
    rows = {"nearest": torch.ones(2), "bilinear": torch.tensor([0.25, 0.75, 0.75, 0.25])}
    if len(parts) == 2 and isinstance(parts[0], nn.Upsample) and parts[0].mode in rows:
        assert isinstance(parts[1], nn.Conv2d)
        row, weight = rows[parts[0].mode], parts[1].weight.detach()
        side = len(row) - 1
        wide = F.pad(weight.transpose(0, 1).flatten(0, 1)[:, None], (side,) * 4)
        made = F.conv2d(wide.flip(-1, -2), torch.outer(row, row).to(weight)[None, None])
        return made.view(weight.shape[1], weight.shape[0], *made.shape[-2:])
    raise InputError(f"{type(layer).__name__} is no way of upsampling whose kernel is known")
