"""The large context transposed convolution (LCTC), y = T_K(u) + T_3(u) at stride 2, and what it is compared with.

S. Agnihotri, J. Grabinski and M. Keuper, ECCV 2024, arXiv 2311.17524: upsampling by zero insertion repeats the
spectrum, and the kernel that follows must remove the repeats. The ideal one is a sinc without end, so a longer kernel
can come nearer to it; a small path beside it restores detail. Every weight is learned.

The number of groups follows the published code: depthwise where channels are kept, as in its U-Net, and two input
channels for each output channel where they are halved, as in its Restormer. Weights start as PyTorch starts them, as
there; ``bilinear`` and ``sinc`` are options of ours.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from snellen.core.errors import InputError

Initial = Literal["default", "bilinear", "sinc"]
Kind = Literal["lctc", "transposed", "pixel_shuffle", "nearest", "bilinear", "bicubic"]

#: Side of the largest kernel.
LARGEST = 31


def margins(kernel: int) -> tuple[int, int]:
    """Padding and output padding with which a kernel of this side gives exactly twice the size, at stride 2.

    >>> margins(2), margins(7)
    ((0, 0), (3, 1))

    Raises:
        InputError: an even side other than 2, or one outside 2 to 31.
    """
    if kernel == 2:
        return 0, 0
    if kernel % 2 == 0 or not 3 <= kernel <= LARGEST:
        raise InputError(f"a kernel of upsampling has side 2, or an odd one from 3 to {LARGEST}; got {kernel}")
    return (kernel - 1) // 2, 1


def transposed(channels_in: int, channels_out: int, kernel: int, *, groups: int = 1) -> nn.ConvTranspose2d:
    """A transposed convolution of stride 2 that doubles height and width; it has C_in · C_out / groups · K² weights."""
    padding, output_padding = margins(kernel)
    return nn.ConvTranspose2d(
        channels_in,
        channels_out,
        kernel,
        stride=2,
        padding=padding,
        output_padding=output_padding,
        groups=groups,
    )


class LargeContextUpsampling(nn.Module):
    """(n, C_in, h, w) → (n, C_out, 2h, 2w): a large grouped transposed convolution and, parallel to it, a small one.

    >>> layer = LargeContextUpsampling(8, 4, kernel=11)
    >>> layer(torch.zeros(1, 8, 3, 5)).shape
    torch.Size([1, 4, 6, 10])
    >>> sum(weight.numel() for weight in layer.parameters()) == 4 * 2 * (11**2 + 3**2) + 2 * 4
    True

    Args:
        channels_in: C_in.
        channels_out: C_out; by default C_in.
        kernel: side K of the large kernel: 2, or odd from 3 to 31; 7 and 11 are published.
        small_kernel: side of the parallel one, 2 or odd, at most K; None: no small path.
        groups: by default the greatest common divisor of both numbers of channels, which is C_in where channels are
            kept, and C_out where they are halved.
        initial: initial weights: PyTorch's; or a filter that interpolates, bilinear or a windowed sinc of the large
            kernel, each output channel being the mean of its input channels and the small path starting at 0.

    Raises:
        InputError: sides or numbers of groups that do not fit.
    """

    def __init__(
        self,
        channels_in: int,
        channels_out: int | None = None,
        *,
        kernel: int = 7,
        small_kernel: int | None = 3,
        groups: int | None = None,
        initial: Initial = "default",
    ) -> None:
        super().__init__()
        out = channels_in if channels_out is None else channels_out
        groups = math.gcd(channels_in, out) if groups is None else groups
        if groups < 1 or channels_in % groups or out % groups:
            raise InputError(f"{groups} groups do not divide {channels_in} channels and {out}; use a common divisor")
        if small_kernel is not None and small_kernel > kernel:
            raise InputError(f"the small kernel of side {small_kernel} is larger than the large one of side {kernel}")
        self.large = transposed(channels_in, out, kernel, groups=groups)
        self.small = None if small_kernel is None else transposed(channels_in, out, small_kernel, groups=groups)
        if initial != "default":
            start_as_interpolation(self.large, initial)
            if self.small is not None:
                nn.init.zeros_(self.small.weight)
                nn.init.zeros_(self.small.bias)  # type: ignore[arg-type]

    def forward(self, maps: Tensor) -> Tensor:
        """Sum of both paths, without an activation between or behind."""
        upsampled: Tensor = self.large(maps)
        return upsampled if self.small is None else upsampled + self.small(maps)


def interpolation_taps(kernel: int, initial: Initial) -> Tensor:
    """A filter (K,) that doubles a row: both phases sum to 1, so that a constant stays one.

    >>> interpolation_taps(3, "bilinear").tolist()
    [0.5, 1.0, 0.5]

    Args:
        kernel: side K.
        initial: ``bilinear``, or ``sinc``: sin(πt/2) / (πt/2) in a Hann window.

    Raises:
        InputError: a side of 2, which can repeat pixels and no more.
    """
    if kernel == 2 or initial == "default":
        raise InputError(f"initial weights {initial!r} of a kernel of side {kernel}: interpolation needs an odd side")
    places = torch.arange(kernel, dtype=torch.float64) - (kernel - 1) // 2
    if initial == "bilinear":
        taps = (1 - places.abs() / 2).clamp(min=0)
    else:
        window = 0.5 * (1 + torch.cos(torch.pi * places / ((kernel + 1) / 2)))
        taps = torch.sinc(places / 2) * window
    for phase in (0, 1):
        taps[phase::2] /= taps[phase::2].sum()
    return taps.float()


def start_as_interpolation(layer: nn.ConvTranspose2d, initial: Initial) -> None:
    """Set a transposed convolution to a filter that interpolates; an output is the mean of the inputs of its group."""
    taps = interpolation_taps(layer.kernel_size[0], initial)
    inputs = layer.in_channels // layer.groups
    with torch.no_grad():
        layer.weight.copy_((taps[:, None] * taps / inputs).expand_as(layer.weight))
        if layer.bias is not None:
            layer.bias.zero_()


def merged(layer: LargeContextUpsampling) -> LargeContextUpsampling:
    """The same function with one path: the small kernel is added to the middle of the large one, biases are added.

    The given layer stays as it is.

    Raises:
        InputError: a large kernel of side 2, and a small one of another side.
    """
    if layer.small is None:
        weight, bias = layer.large.weight, layer.large.bias
    else:
        large, small = layer.large, layer.small
        # Weight number t of a path acts at the offset t − padding.
        before = int(large.padding[0]) - int(small.padding[0])
        after = large.kernel_size[0] - small.kernel_size[0] - before
        if after < 0:
            raise InputError("a small kernel of side 3 reaches further than a large one of side 2")
        weight = large.weight + F.pad(small.weight, (before, after, before, after))
        assert large.bias is not None
        assert small.bias is not None
        bias = large.bias + small.bias
    one = LargeContextUpsampling(
        layer.large.in_channels,
        layer.large.out_channels,
        kernel=layer.large.kernel_size[0],
        small_kernel=None,
        groups=layer.large.groups,
    ).to(weight)
    with torch.no_grad():
        one.large.weight.copy_(weight)
        one.large.bias.copy_(bias)  # type: ignore[union-attr, arg-type]
    return one.train(layer.training)


def upsampling(
    kind: Kind,
    channels_in: int,
    channels_out: int | None = None,
    *,
    kernel: int = 7,
    small_kernel: int | None = 3,
    initial: Initial = "default",
) -> nn.Module:
    """Any way to double height and width: (n, C_in, h, w) → (n, C_out, 2h, 2w).

    Args:
        kind: ``lctc``; ``transposed``: a dense transposed convolution; ``pixel_shuffle``: a 3 × 3 convolution to four
            times the channels, which are then interleaved; or an interpolation and a 3 × 3 convolution.
        channels_in: C_in.
        channels_out: C_out; by default C_in.
        kernel: side, for ``lctc`` and ``transposed``.
        small_kernel: side of the parallel path of ``lctc``.
        initial: weights of ``lctc``.
    """
    out = channels_in if channels_out is None else channels_out
    if kind == "lctc":
        return LargeContextUpsampling(channels_in, out, kernel=kernel, small_kernel=small_kernel, initial=initial)
    if kind == "transposed":
        return transposed(channels_in, out, kernel)
    if kind == "pixel_shuffle":
        return nn.Sequential(nn.Conv2d(channels_in, 4 * out, 3, padding=1), nn.PixelShuffle(2))
    corners = None if kind == "nearest" else False
    larger = nn.Upsample(scale_factor=2, mode=kind, align_corners=corners)
    return nn.Sequential(larger, nn.Conv2d(channels_in, out, 3, padding=1))
