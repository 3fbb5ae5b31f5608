"""Rays of cameras, how far a part reaches in a picture, and which part each ray meets first.

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
from snellen.data.worlds.solids.part import ENTRIES, Part, Solid, Triple
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
    """Ellipsoids whose hulls are the parts of an object, float64; those of a part with fewer are repeated.

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


#: Number of the part where a ray meets none.
NOTHING = 255


@dataclass(frozen=True, eq=False)
class Views:
    """One object before n cameras.

    Attributes:
        solid: the object, of p parts.
        size: height and width of the pictures, pixels.
        axes: takes a ray (x, y, −1) of a camera to a part's own coordinates, float32 (p, 3, 3, n).
        origins: the cameras in a part's own coordinates, float32 (p, 3, n).
        outward: takes a normal in a part's own coordinates to the world, float32 (p, 3, 3).
        boxes: left, top, right and bottom pixel of a part in the pictures, the last ones excluded, int64 (p, 4, n).
    """

    solid: Solid
    size: int
    axes: Tensor
    origins: Tensor
    outward: Tensor
    boxes: Tensor


@dataclass(frozen=True, eq=False)
class Hits:
    """What rays meet.

    Attributes:
        parts: number of the part, uint8, :data:`NOTHING` where there is none.
        depths: distance along the line of sight, float32, infinite where there is none.
    """

    parts: Tensor
    depths: Tensor


def ratio_of(part: Part) -> float:
    """What the entry and the normal of a part take as their ratio."""
    return part.half_sizes[0] / part.half_sizes[2] if part.kind == "capsule" else part.ratio


def inward(part: Part) -> Tensor:
    """Matrix that takes directions in the world to a part's own coordinates, float64 (3, 3)."""
    # A capsule is scaled alike in every direction, so that its ends stay round.
    sizes = (part.half_sizes[0],) * 3 if part.kind == "capsule" else part.half_sizes
    return torch.from_numpy(part.axes.T.copy()) / torch.tensor(sizes, dtype=torch.float64)[:, None]


def views_of(solid: Solid, cameras: Cameras, size: int) -> Views:
    """Put an object before cameras."""
    matrices = torch.stack([inward(part) for part in solid.parts])[..., None]  # (p, 3, 3, 1)
    centres = torch.tensor([part.centre for part in solid.parts], dtype=torch.float64)[..., None]
    cameras_last = cameras.axes.permute(1, 2, 0)  # (3, 3, n)
    # Written out, because a matrix product may sum in another order in another batch.
    axes = sum(matrices[:, :, middle, None] * cameras_last[None, None, middle] for middle in range(3))
    offsets = cameras.places.T[None] - centres  # (p, 3, n)
    origins = sum(matrices[:, :, middle] * offsets[:, None, middle] for middle in range(3))
    ends = extents(hulls_of(solid), cameras, size).permute(1, 2, 0)
    # A pixel more on each side, because ends and rays are not rounded alike.
    boxes = torch.cat([(ends[:, :2] - 1).floor(), (ends[:, 2:] + 1).ceil()], 1).clamp(0, size)
    assert isinstance(axes, Tensor)
    assert isinstance(origins, Tensor)
    outward = matrices[..., 0].transpose(1, 2)
    return Views(solid, size, axes.float(), origins.float(), outward.float(), boxes.long())


def trace_pictures(views: Views, places: tuple[tuple[float, float], ...]) -> Hits:
    """Rays through s places on every pixel: parts and depths (n, s, h, w)."""
    count, size = views.boxes.shape[2], views.size
    depths = torch.full((count * len(places) * size * size,), math.inf)
    parts = torch.full(depths.shape, NOTHING, dtype=torch.uint8)
    across, down = (torch.tensor([place[axis] for place in places])[:, None] for axis in (0, 1))
    # Pictures of all samples lie one below the other: (n · s, h, w).
    picture = torch.arange(count * len(places)).view(count, len(places), 1, 1) * (size * size)
    for number, part in enumerate(views.solid.parts):
        left, top, right, bottom = views.boxes[number]
        width, height = int((right - left).max()), int((bottom - top).max())
        if width <= 0 or height <= 0:
            continue
        # The same window for all views, moved into each picture.
        left, top = torch.minimum(left, size - torch.tensor(width)), torch.minimum(top, size - torch.tensor(height))
        columns, rows = left[:, None] + torch.arange(width), top[:, None] + torch.arange(height)
        x = _coordinate(columns[:, None] + across, size)[:, :, None]  # (n, s, 1, w)
        y = -_coordinate(rows[:, None] + down, size)[:, :, :, None]  # (n, s, h, 1)
        axes, origin = views.axes[number][..., None, None, None], views.origins[number][..., None, None, None]
        direction = _direction(axes, x, y)
        entry = ENTRIES[part.kind](_triple(origin), direction, ratio_of(part))
        index = (picture + rows[:, None, :, None] * size + columns[:, None, None]).flatten()
        _keep_nearer(depths, parts, index, entry.flatten(), number)
    shape = (count, len(places), size, size)
    return Hits(parts.view(shape), depths.view(shape))


def trace_pixels(
    views: Views, view: Tensor, row: Tensor, column: Tensor, places: tuple[tuple[float, float], ...]
) -> Hits:
    """Rays through s places on some pixels: parts and depths (s, m).

    Args:
        views: the object and its cameras.
        view: which camera, int64 (m,).
        row: of the pixels, from above, int64 (m,).
        column: the same from the left.
        places: on each pixel, in (0, 1).
    """
    depths = torch.full((len(places), len(view)), math.inf)
    parts = torch.full(depths.shape, NOTHING, dtype=torch.uint8)
    across, down = (torch.tensor([place[axis] for place in places])[:, None] for axis in (0, 1))
    for number, part in enumerate(views.solid.parts):
        left, top, right, bottom = views.boxes[number][:, view]
        pixel = ((column >= left) & (column < right) & (row >= top) & (row < bottom)).nonzero()[:, 0]
        if not len(pixel):
            continue
        origin, direction = own_rays(views, number, view[pixel], column[pixel] + across, row[pixel] + down)
        entry = ENTRIES[part.kind](origin, direction, ratio_of(part))
        before = depths[:, pixel]
        nearer = entry < before
        depths[:, pixel] = torch.where(nearer, entry, before)
        parts[:, pixel] = torch.where(nearer, number, parts[:, pixel])
    return Hits(parts, depths)


def own_rays(views: Views, number: int, view: Tensor, x: Tensor, y: Tensor) -> tuple[Triple, Triple]:
    """Origins (m,) and directions (s, m) of rays in the coordinates of one part.

    Args:
        views: the object and its cameras.
        number: of the part.
        view: which camera, int64 (m,).
        x: where rays go through the picture, pixels from the left, float32 (s, m).
        y: the same from above.
    """
    across, up = _coordinate(x, views.size), -_coordinate(y, views.size)
    direction = _direction(views.axes[number][:, :, view], across, up)
    return _triple(views.origins[number][:, view]), direction


def _coordinate(place: Tensor, size: int) -> Tensor:
    """Horizontal or vertical coordinate of a ray at depth 1, of pixels."""
    return (place - size / 2) * (1 / focal_length(size))


def _direction(axes: Tensor, x: Tensor, y: Tensor) -> Triple:
    first, second, third = ((axes[row, 0] * x) + (axes[row, 1] * y - axes[row, 2]) for row in range(3))
    return first, second, third


def _triple(values: Tensor) -> Triple:
    return values[0], values[1], values[2]


def _keep_nearer(depths: Tensor, parts: Tensor, index: Tensor, entry: Tensor, number: int) -> None:
    """Write entries where they are nearer than what is there; of equal ones, the earlier part stays."""
    nearer = (entry < depths[index]).nonzero()[:, 0]
    chosen = index[nearer]
    depths[chosen] = entry[nearer]
    parts[chosen] = number
