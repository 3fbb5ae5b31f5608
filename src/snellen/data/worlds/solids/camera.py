"""Rays of a camera of six coordinates, where on a pixel they go through, and how far a part reaches in a picture.

A part is the hull of balls, discs and points, and so is its picture. A ray at x / depth = u touches an ellipsoid with
centre m and matrix S (its half axes, squared) where (m_x − u·m_z)² = S_xx − 2·u·S_xz + u²·S_zz, depths taken along z:
two values of u, the left and the right end (Hartley and Zisserman, "Multiple View Geometry", 2nd edition, result 8.9,
for one coordinate). A disc is a flat ellipsoid, and a point one without any size.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from torch import Tensor

from snellen.core.errors import InputError
from snellen.data.worlds.solids.part import Part, Solid
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


#: Most ellipsoids whose hull is a part: the corners of a box.
_MOST = 8


@dataclass(frozen=True, eq=False)
class Hulls:
    """Ellipsoids whose hulls are the parts of an object, float64; those of a part with fewer are told repeatedly.

    Attributes:
        centres: (p, 8, 3).
        axes: half axes as columns (p, 8, 3, 3).
    """

    centres: Tensor
    axes: Tensor


def hulls_of(solid: Solid) -> Hulls:
    """Ellipsoids whose hulls are the parts."""
    centres, axes = zip(*(_hull(part) for part in solid.parts), strict=True)
    return Hulls(torch.stack(centres), torch.stack(axes))


def extents(hulls: Hulls, cameras: Cameras, size: int) -> Tensor:
    """Boxes about the parts in pictures that are ``size`` pixels wide and high.

    Returns:
        Left, top, right and bottom end in pixels, float64 (n, p, 4); may lie outside the picture.
    """
    axes = cameras.axes[:, None, None]  # (n, 1, 1, 3, 3)
    offset = hulls.centres[None] - cameras.places[:, None, None]
    centre = [_along(axes[..., column], offset) for column in range(3)]
    half = [[_along(axes[..., column], hulls.axes[None, ..., axis]) for axis in range(3)] for column in range(3)]
    depth = -centre[2]
    spread = _square(half[2], half[2])
    ends = []
    for column in (0, 1):
        mixed, own = -_square(half[column], half[2]), _square(half[column], half[column])
        square = depth * depth - spread
        middle = centre[column] * depth - mixed
        # At least 0 but for rounding, where the ellipsoid is a point.
        root = (middle * middle - square * (centre[column] * centre[column] - own)).clamp(min=0).sqrt()
        ends.append((((middle - root) / square).amin(2), ((middle + root) / square).amax(2)))
    (left, right), (bottom, top) = ends
    focal = focal_length(size)
    return torch.stack([left * focal, -top * focal, right * focal, -bottom * focal], 2) + size / 2


def _hull(part: Part) -> tuple[Tensor, Tensor]:
    """Centres (8, 3) and half axes as columns (8, 3, 3) of the ellipsoids whose hull is the part."""
    axes, sizes = part.axes, np.asarray(part.half_sizes)
    corners = np.array([[x, y, z] for x in (-1.0, 1.0) for y in (-1.0, 1.0) for z in (-1.0, 1.0)])
    lower, upper = np.array([0, 0, -sizes[2]]), np.array([0, 0, sizes[2]])
    if part.kind == "box":
        found = [(corner * sizes, np.zeros(3)) for corner in corners]
    elif part.kind == "ellipsoid":
        found = [(np.zeros(3), sizes)]
    elif part.kind == "capsule":
        ball = np.array([0, 0, sizes[0]])
        found = [(lower + ball, np.full(3, sizes[0])), (upper - ball, np.full(3, sizes[0]))]
    else:
        disc = sizes * [1, 1, 0]
        found = [(lower, disc), (upper, disc * (part.ratio if part.kind == "cone" else 1.0))]
    found = (found * _MOST)[:_MOST]
    centres = np.stack([np.asarray(part.centre) + axes @ centre for centre, _ in found])
    return torch.from_numpy(centres), torch.from_numpy(np.stack([axes * half for _, half in found]))


def _along(direction: Tensor, vector: Tensor) -> Tensor:
    """Scalar products over the last dimension, in a fixed order."""
    return direction[..., 0] * vector[..., 0] + direction[..., 1] * vector[..., 1] + direction[..., 2] * vector[..., 2]


def _square(first: list[Tensor], second: list[Tensor]) -> Tensor:
    return first[0] * second[0] + first[1] * second[1] + first[2] * second[2]
