"""From where objects are looked at."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from snellen.data.worlds.viewpoints import CENTRES, HALF_RANGES

ViewpointRange = Literal["natural", "any"]

#: Least and largest roll, azimuth, elevation, distance and shifts. "natural" is how people take pictures of things:
#: upright, from the front or half from the side, a little from above, in the middle of the picture. "any" is the whole
#: range of :data:`~snellen.data.worlds.viewpoints.HALF_RANGES`.
RANGES: dict[ViewpointRange, tuple[tuple[float, ...], tuple[float, ...]]] = {
    "natural": ((-5.0, -50.0, 8.0, 3.4, -0.12, -0.12), (5.0, 50.0, 35.0, 4.4, 0.12, 0.12)),
    "any": (
        tuple(centre - half for centre, half in zip(CENTRES, HALF_RANGES, strict=True)),
        tuple(centre + half for centre, half in zip(CENTRES, HALF_RANGES, strict=True)),
    ),
}


def draw_viewpoints(seeds: Sequence[int], within: ViewpointRange) -> Tensor:
    """One viewpoint for each seed, uniform in the range: float64 (n, 6), rounded to 0.0001.

    >>> draw_viewpoints([1, 2], "natural").shape
    torch.Size([2, 6])
    """
    low, high = (np.asarray(ends) for ends in RANGES[within])
    shares = np.array([np.random.default_rng(seed).random(len(low)) for seed in seeds]).reshape(-1, len(low))
    return torch.from_numpy((low + (high - low) * shares).round(4))
