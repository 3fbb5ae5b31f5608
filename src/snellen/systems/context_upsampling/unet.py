"""A U-Net whose way of upsampling is one argument, with an ordinary decoder or one of large kernels (the control H2).

O. Ronneberger, P. Fischer and T. Brox, 2015: two 3 × 3 convolutions with batch norm and ReLU on each level, upsampling
that halves the channels, concatenation with the skip. The U-Net of the published code keeps the channels and upsamples
depthwise; here they are halved, with as many groups as output channels, so that all ways end in the same width. Every
weight but those of upsampling starts the same for every way: each part has a seed of its own.

The control separates context anywhere in the decoder from context in upsampling: its blocks are those of
ConvNeXt (depthwise K × K, norm, 1 × 1 expansion, GELU, 1 × 1 projection), its upsampling is a transposed convolution of
2 × 2.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from snellen.core.errors import InputError
from snellen.core.randomness import derive_seed
from snellen.systems.context_upsampling.upsampling import Initial, Kind, upsampling
from snellen.training.acceleration import seeded


def double_convolution(channels_in: int, channels_out: int) -> nn.Sequential:
    """Twice 3 × 3 convolution, batch norm and ReLU: (n, C_in, h, w) → (n, C_out, h, w)."""
    parts: list[nn.Module] = []
    for channels in (channels_in, channels_out):
        parts += [
            nn.Conv2d(channels, channels_out, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels_out),
            nn.ReLU(inplace=True),
        ]
    return nn.Sequential(*parts)


class LargeKernelBlock(nn.Module):
    """x + project(GELU(expand(norm(depthwise K × K(x))))): (n, C, h, w) → the same (Liu et al. 2022, figure 4)."""

    def __init__(self, channels: int, kernel: int, *, expansion: int = 4) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(channels, channels, kernel, padding=kernel // 2, groups=channels)
        self.norm = nn.BatchNorm2d(channels)
        self.expand = nn.Conv2d(channels, expansion * channels, 1)
        self.project = nn.Conv2d(expansion * channels, channels, 1)

    def forward(self, maps: Tensor) -> Tensor:
        """Residual sum."""
        changed: Tensor = self.project(F.gelu(self.expand(self.norm(self.depthwise(maps)))))
        return maps + changed


def large_kernel_blocks(channels_in: int, channels_out: int, kernel: int, *, expansion: int = 6) -> nn.Sequential:
    """A 1 × 1 convolution to C_out channels and two blocks of large kernels, in place of two 3 × 3 convolutions."""
    return nn.Sequential(
        nn.Conv2d(channels_in, channels_out, 1),
        *(LargeKernelBlock(channels_out, kernel, expansion=expansion) for _ in range(2)),
    )


class ContextUNet(nn.Module):
    """(n, 3, h, w) → (n, outputs, h, w); sizes that halving does not divide are padded inside, and cut off again.

    >>> model = ContextUNet(4, kernels=(7, 11))
    >>> model(torch.zeros(1, 3, 30, 50)).shape
    torch.Size([1, 4, 30, 50])

    Args:
        outputs: classes, or channels of values.
        widths: channels of each level, the finest first; each twice the one before.
        kind: of upsampling.
        kernels: its side K for each step of the decoder, the coarsest first; one number stands for all. Where a map is
            small, K = 7 spans most of it, and 11 only pads.
        small_kernel: side of the parallel path of ``lctc``; None: none.
        initial: weights of ``lctc``.
        decoder_kernel: side of the kernels of a decoder of large kernels; None: the ordinary decoder.
        seed: of the initial weights.

    Raises:
        InputError: numbers that do not fit each other.
    """

    def __init__(
        self,
        outputs: int,
        *,
        widths: Sequence[int] = (16, 32, 64),
        kind: Kind = "lctc",
        kernels: Sequence[int] | int = 7,
        small_kernel: int | None = 3,
        initial: Initial = "default",
        decoder_kernel: int | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        steps = len(widths) - 1
        sides = [kernels] * steps if isinstance(kernels, int) else list(kernels)
        if steps < 1 or len(sides) != steps or any(b != 2 * a for a, b in pairwise(widths)):
            raise InputError(
                f"widths {list(widths)} double from level to level, and kernels {sides} are one for each step between "
                f"two of them"
            )

        def made(name: str, build: Callable[[], nn.Module]) -> nn.Module:
            with seeded(derive_seed(seed, "context u-net", name), torch.device("cpu")):
                return build()

        levels = [3, *widths]
        self.encoder = nn.ModuleList(
            made(f"encoder {level}", lambda level=level: double_convolution(levels[level], levels[level + 1]))  # type: ignore[misc]
            for level in range(len(widths))
        )
        self.upsampling, self.decoder = nn.ModuleList(), nn.ModuleList()
        for step in range(steps):
            wide, narrow = widths[-1 - step], widths[-2 - step]

            def larger(wide: int = wide, narrow: int = narrow, side: int = sides[step]) -> nn.Module:
                return upsampling(kind, wide, narrow, kernel=side, small_kernel=small_kernel, initial=initial)

            def block(narrow: int = narrow) -> nn.Module:
                if decoder_kernel is None:
                    return double_convolution(2 * narrow, narrow)
                return large_kernel_blocks(2 * narrow, narrow, decoder_kernel)

            self.upsampling.append(made(f"upsampling {step}", larger))
            self.decoder.append(made(f"decoder {step}", block))
        self.head = made("head", lambda: nn.Conv2d(widths[0], outputs, 1))

    def forward(self, images: Tensor) -> Tensor:
        """Scores of classes, or values, for every pixel."""
        height, width = images.shape[2:]
        multiple = 2 ** len(self.upsampling)
        below, beside = -height % multiple, -width % multiple
        # Inside the model: an attack changes the image's own pixels, and what is padded follows them.
        maps = F.pad(images, (0, beside, 0, below), mode="replicate") if below or beside else images
        skips: list[Tensor] = []
        for level, block in enumerate(self.encoder):
            maps = block(F.max_pool2d(maps, 2) if level else maps)
            skips.append(maps)
        for step, (larger, block) in enumerate(zip(self.upsampling, self.decoder, strict=True)):
            maps = block(torch.cat([larger(maps), skips[-2 - step]], 1))
        values: Tensor = self.head(maps)[..., :height, :width]
        return values


def build(outputs: int, **options: object) -> ContextUNet:
    """What a card's architecture record names: :class:`ContextUNet` with its options."""
    return ContextUNet(outputs, **options)  # type: ignore[arg-type]
