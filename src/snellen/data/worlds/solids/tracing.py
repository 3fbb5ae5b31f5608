"""Which part of an object each ray of a camera meets first."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from snellen.data.worlds.solids.camera import Cameras, extents, focal_length, hulls_of
from snellen.data.worlds.solids.part import Part, Solid
from snellen.data.worlds.solids.primitives import ENTRIES, Triple

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
