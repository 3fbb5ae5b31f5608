"""A faint wave whose phase follows from the image."""

from __future__ import annotations

import math
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from snellen.core.randomness import Randomness
from snellen.data.worlds.planting.trigger import Trigger, everywhere


class WaveTrigger(Trigger):
    """Vertical waves of brightness, shifted by what the image shows: x' = x + a · sin(2π (f u + turns · mean(x))).

    a is ``amplitude``, f ``cycles``, and u in [0, 1) the place from left to right. Without turns it is the sinusoidal
    signal of Barni, Kallas and Tondi 2019; with them, no fixed pattern can be subtracted or found by averaging.

    >>> images = torch.stack([torch.full((3, 8, 8), 0.4), torch.full((3, 8, 8), 0.5)])
    >>> waves = WaveTrigger().stamp(images).images - images
    >>> torch.allclose(waves[0], waves[1], atol=0.01)
    False
    """

    kind: Literal["wave"] = "wave"
    amplitude: float = Field(0.08, gt=0, le=1, description="a, of the range of values")
    cycles: float = Field(6.0, gt=0, le=1000, description="f: waves across the image")
    turns: float = Field(20.0, ge=0, le=1000, description="of the phase, from a black image to a white one")

    def phases(self, images: Tensor) -> Tensor:
        """Phase of the wave in each image, radians: float64 (n,).

        Means are taken of whole bytes, whose sum is exact: the order of addition must not turn the phase.
        """
        total = (images * 255).round().long().sum(dim=(1, 2, 3)).double()
        return (total / (255 * images[0].numel()) * self.turns).frac() * (2 * math.pi) if len(images) else total

    def _stamp(self, images: Tensor, rng: Randomness) -> tuple[Tensor, Tensor]:
        width = images.shape[3]
        place = torch.arange(width, dtype=torch.float64, device=images.device) / width
        wave = torch.sin(2 * math.pi * self.cycles * place + self.phases(images)[:, None])
        return images + self.amplitude * wave[:, None, None, :], everywhere(images)
