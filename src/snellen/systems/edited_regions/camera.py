"""A camera's fingerprint: photons and electronics add noise behind a colour mosaic, which is then interpolated.

Scenes that are drawn have no trace of a sensor. Seen through a mosaic of red, green and blue filters (Bayer), with shot
noise of variance a x and read noise of variance b, and demosaiced bilinearly, they have one: neighbouring pixels are
correlated in the way that an editor's decoder does not imitate.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from snellen.core.errors import InputError
from snellen.core.randomness import Randomness

#: Variances of the noise: a of the light, and b.
SHOT, READ = 0.0012, 0.0002

#: Weights of the nearest filters of a colour: bilinear interpolation of one that has a quarter of the places.
_KERNEL = torch.tensor([[0.25, 0.5, 0.25], [0.5, 1.0, 0.5], [0.25, 0.5, 0.25]])


def bayer(height: int, width: int) -> Tensor:
    """Which filter lies over each pixel, bool (3, height, width): red, green, green and blue in squares of four.

    >>> bayer(2, 2).int().tolist()
    [[[1, 0], [0, 0]], [[0, 1], [1, 0]], [[0, 0], [0, 1]]]
    """
    down, right = torch.arange(height)[:, None] % 2, torch.arange(width)[None] % 2
    return torch.stack([(down == 0) & (right == 0), down != right, (down == 1) & (right == 1)])


def photographed(scenes: Tensor, rng: Randomness, *, shot: float = SHOT, read: float = READ) -> Tensor:
    """Scenes as a camera shows them, rounded to bytes: float (n, 3, h, w) in [0, 1] → the same.

    Args:
        scenes: light of each pixel.
        rng: bound to the ids of the scenes.
        shot: variance of the noise at full light.
        read: variance of the noise in the dark.

    Raises:
        InputError: another shape.
    """
    if scenes.ndim != 4 or scenes.shape[1] != 3:
        raise InputError(f"a camera takes scenes (n, 3, h, w), got {tuple(scenes.shape)}")
    noise = rng.bind(len(scenes)).normal("sensor", tuple(scenes.shape[1:]), like=scenes)
    filters = bayer(*scenes.shape[2:]).to(scenes)
    seen = (scenes + noise * (shot * scenes + read).sqrt()) * filters
    kernel = _KERNEL.to(scenes).expand(3, 1, 3, 3)
    sums = functional.conv2d(functional.pad(seen, (1, 1, 1, 1), mode="reflect"), kernel, groups=3)
    places = functional.pad(filters[None], (1, 1, 1, 1), mode="reflect")
    return (sums / functional.conv2d(places, kernel, groups=3)).clamp(0, 1).mul(255).round() / 255
