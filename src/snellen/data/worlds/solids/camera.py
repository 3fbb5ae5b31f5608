"""Rays of a camera of six coordinates, and where on a pixel they go through."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from snellen.core.errors import InputError
from snellen.data.worlds.viewpoints import ANGLE_OF_VIEW, camera_to_world


@dataclass(frozen=True, eq=False)
class Cameras:
    """Cameras of n views, float64.

    Attributes:
        axes: directions of their right, up and backward axes in the world, as columns (n, 3, 3).
        places: where they stand (n, 3).
    """

    axes: Tensor
    places: Tensor

    def __len__(self) -> int:
        return len(self.places)


def cameras_of(viewpoints: Tensor) -> Cameras:
    """Cameras of viewpoints (n, 6).

    >>> cameras_of(torch.tensor([[0.0, 0.0, 0.0, 4.0, 0.0, 0.0]])).places.round(decimals=3).abs().tolist()
    [[0.0, 4.0, 0.0]]

    Raises:
        InputError: another shape, or a number that is not finite.
    """
    if not bool(torch.isfinite(viewpoints).all()):
        raise InputError("a viewpoint holds a number that is not finite")
    matrices = camera_to_world(viewpoints.detach().cpu().double())
    return Cameras(matrices[:, :3, :3], matrices[:, :3, 3])


def focal_length(size: int) -> float:
    """Focal length of a picture, pixels: half its size over the tangent of half the angle of view.

    >>> round(focal_length(400))
    556
    """
    return size / 2 / math.tan(ANGLE_OF_VIEW / 2)


@cache
def sample_places(count: int) -> tuple[tuple[float, float], ...]:
    """Places on a pixel, in (0, 1), whose rows and columns all differ: edges are smooth in every direction.

    Place i lies in column i; rows follow from steps of an odd number near the golden section of the count. For 4 this
    is the rotated grid of graphics processors.

    >>> sample_places(4)
    ((0.125, 0.625), (0.375, 0.125), (0.625, 0.875), (0.875, 0.375))

    Raises:
        InputError: the count is none of 1, 2, 4, 8, 16, 32 and 64.
    """
    if count not in (1, 2, 4, 8, 16, 32, 64):
        raise InputError(f"samples of a pixel must be 1, 2, 4, 8, 16, 32 or 64; got {count}")
    rows = _ROWS_OF_FOUR if count == 4 else [place * (round(count * 0.618) | 1) % count for place in range(count)]
    return tuple(((column + 0.5) / count, (row + 0.5) / count) for column, row in enumerate(rows))


_ROWS_OF_FOUR = [2, 0, 3, 1]
