"""What a video shows, measured: faithfulness to the given frame, motion, and whether a decision stays.

Motion is measured directly, without a network: the place of a coloured object on a grey ground is the phase of the
first Fourier component of its colourfulness, which also holds where it leaves on one side and comes in on the other.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from snellen.core.errors import InputError

#: Directions as this file numbers them: steps right and down.
DIRECTIONS = ("left", "right", "up", "down")

#: Colourfulness below this is noise of the ground.
_LEAST = 0.15

#: The highest ratio that is reported, of images that are equal up to rounding.
MOST_DECIBELS = 60.0


def psnr(first: Tensor, second: Tensor) -> Tensor:
    """Peak signal to noise ratio of images (n, ...) in [0, 1], in decibels (n,), at most :data:`MOST_DECIBELS`."""
    errors = (first - second).square().flatten(1).mean(dim=1)
    return (-10 * errors.clamp_min(10 ** (-MOST_DECIBELS / 10)).log10()).clamp_max(MOST_DECIBELS)


def places(videos: Tensor) -> Tensor:
    """Centre of the coloured object in each frame, x and y in pixels on a torus: (n, F, 3, h, w) in [0, 1] → (n, F, 2).

    NaN where nothing is coloured.
    """
    colourful = videos.amax(dim=2) - videos.amin(dim=2)
    weights = torch.where(colourful > _LEAST, colourful, torch.zeros_like(colourful)).double()
    found = []
    for axis in (-2, -1):  # sums over rows leave columns, so x comes first
        profile = weights.sum(dim=axis)
        size = profile.shape[-1]
        angles = (torch.arange(size, dtype=torch.float64) + 0.5) * math.tau / size
        turned = torch.atan2((profile * angles.sin()).sum(-1), (profile * angles.cos()).sum(-1))
        found.append(turned.remainder(math.tau) * size / math.tau)
    here = torch.stack(found, dim=-1)
    seen = weights.flatten(2).sum(dim=-1) > 0
    return torch.where(seen[..., None], here, torch.nan)


def steps(videos: Tensor) -> Tensor:
    """How far the object moves from frame to frame, the short way round, in pixels: (n, F, 3, h, w) → (n, F − 1, 2).

    Raises:
        InputError: a single frame.
    """
    if videos.shape[1] < 2:
        raise InputError("motion takes two frames or more")
    found, size = places(videos), torch.tensor([videos.shape[-1], videos.shape[-2]], dtype=torch.float64)
    change = found[:, 1:] - found[:, :-1]
    return (change + size / 2).remainder(size) - size / 2


def directions(videos: Tensor) -> Tensor:
    """Index into :data:`DIRECTIONS` of the median step, int64 (n,); −1 where nothing moves by a tenth of a pixel."""
    change = steps(videos).nan_to_num(0.0).median(dim=1).values
    across = change[:, 0].abs() >= change[:, 1].abs()
    sideways = torch.where(change[:, 0] < 0, 0, 1)
    upright = torch.where(change[:, 1] < 0, 2, 3)
    found = torch.where(across, sideways, upright)
    return torch.where(change.abs().amax(dim=1) < 0.1, -1, found)


def dynamic_degree(videos: Tensor, ways: Tensor) -> Tensor:
    """Mean step along a direction, in pixels a frame, (n,): back counts against it, so that noise does not move.

    Args:
        videos: float (n, F, 3, h, w) in [0, 1]; a frame without an object counts as no motion.
        ways: indices into :data:`DIRECTIONS`, int64 (n,); −1, no direction, gives 0.
    """
    along = torch.tensor([[-1.0, 0.0], [1.0, 0.0], [0.0, -1.0], [0.0, 1.0], [0.0, 0.0]], dtype=torch.float64)[ways]
    return (steps(videos).nan_to_num(0.0) * along[:, None]).sum(dim=-1).mean(dim=1)


def flips(decisions: Tensor) -> Tensor:
    """Share of later frames that a classifier decides otherwise than the first: classes (n, F) → (n,).

    >>> flips(torch.tensor([[2, 2, 1, 2, 0]])).tolist()
    [0.5]
    """
    return (decisions[:, 1:] != decisions[:, :1]).double().mean(dim=1)
