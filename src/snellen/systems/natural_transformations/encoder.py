"""The encoder E of a style generator: images → one latent each, and a perceptual distance in its own maps."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from snellen.core.errors import InputError

#: Channels of the convolutions, each of which halves height and width.
WIDTHS = (32, 64, 96, 128)


class CodeEncoder(nn.Module):
    """A small mirror of a style generator: images (n, 3, s, s) in [0, 1] → mean and log-variance of z, each (n, d).

    The generator's mapping network makes codes w of z, so that those of the encoder lie where it was trained.

    >>> mean, spread = CodeEncoder(32, 8, widths=(4, 8))(torch.rand(2, 3, 32, 32))
    >>> mean.shape, spread.shape
    (torch.Size([2, 8]), torch.Size([2, 8]))

    Args:
        side: s, a multiple of 2 to the power of the number of widths.
        dimension: d.
        widths: channels of each convolution.
    """

    def __init__(self, side: int, dimension: int, widths: Sequence[int] = WIDTHS) -> None:
        super().__init__()
        factor = 2 ** len(widths)
        if side % factor:
            raise InputError(f"the encoder halves images {len(widths)} times: their side {side} is no multiple of {factor}")
        self.side, self.dimension, self.widths = side, dimension, tuple(widths)
        stages: list[nn.Module] = []
        before = 3
        for width in widths:
            stages.append(
                nn.Sequential(
                    nn.Conv2d(before, width, 4, 2, 1), nn.LeakyReLU(0.2), nn.Conv2d(width, width, 3, 1, 1), nn.LeakyReLU(0.2)
                )
            )
            before = width
        self.stages = nn.ModuleList(stages)
        self.head = nn.Linear(before * (side // factor) ** 2, 2 * dimension)

    def maps(self, images: Tensor) -> list[Tensor]:
        """Maps after every stage, the finest first."""
        found = []
        features = 2 * images - 1
        for stage in self.stages:
            features = stage(features)
            found.append(features)
        return found

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Encode; log-variances are cut off at ±8."""
        mean, spread = self.head(self.maps(images)[-1].flatten(1)).chunk(2, 1)
        return mean, spread.clamp(-8, 8)

    def perceptual(self, images: Tensor, others: Tensor) -> Tensor:
        """Mean squared distance of maps whose channels have unit length at each place, over all stages: (n,).

        The form of LPIPS (Zhang et al., CVPR 2018, arXiv 1801.03924, equation 1) without its learned weights, in the
        maps of this encoder: no pretrained network is needed.
        """
        found = images.new_zeros(len(images))
        for first, second in zip(self.maps(images), self.maps(others), strict=True):
            apart = nn.functional.normalize(first, dim=1) - nn.functional.normalize(second, dim=1)
            found = found + apart.square().sum(1).mean((1, 2))
        return found / len(self.stages)


class Critic(nn.Module):
    """Judges whether an image is real: (n, 3, s, s) in [0, 1] → (n,). Trained beside the generator, then dropped.

    Args:
        widths: channels of each convolution.
    """

    def __init__(self, widths: Sequence[int] = (16, 32, 64)) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        before = 3
        for width in widths:
            layers += [nn.Conv2d(before, width, 4, 2, 1), nn.LeakyReLU(0.2)]
            before = width
        self.body, self.head = nn.Sequential(*layers), nn.Linear(before, 1)

    def forward(self, images: Tensor) -> Tensor:
        """Score."""
        scores: Tensor = self.head(self.body(2 * images - 1).mean((2, 3))).squeeze(1)
        return scores


def frozen(network: nn.Module, images: Tensor) -> Tensor:
    """A forward pass whose gradients reach the images and not the weights."""
    still = {name: weight.detach() for name, weight in network.named_parameters()}
    made: Tensor = torch.func.functional_call(network, still, (images,))
    return made
