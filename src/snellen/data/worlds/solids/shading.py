"""Light on the surfaces of an object, from the sun and the sky, and its soft shadow on the ground."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from snellen.core.errors import InputError
from snellen.data.worlds.solids.part import ENTRIES, NORMALS, Solid, Triple, Vector
from snellen.data.worlds.solids.tracing import Cameras, Views, focal_length, inward, own_rays, ratio_of

#: Where the sun stands by default: over the left shoulder of a camera at azimuth 0.
SUN: Vector = (-0.5, -0.62, 0.75)


@dataclass(frozen=True, kw_only=True)
class Light:
    """The sun and the sky.

    A surface shows its colour times sky · (1 + hemisphere · n_z) + sun · max(0, n · l), where n is its normal and l the
    direction to the sun, and at most 1.

    >>> Light().towards
    (-0.45702..., -0.56671..., 0.68553...)

    Attributes:
        direction: towards the sun, of any length; it must stand above the horizon, at least by a tenth.
        sun: its strength.
        sky: strength of the light from everywhere.
        hemisphere: how much more of it comes from above than from the side.

    Raises:
        InputError: the sun is too low, or a strength below 0.
    """

    direction: Vector = SUN
    sun: float = 0.54
    sky: float = 0.50
    hemisphere: float = 0.25

    def __post_init__(self) -> None:
        length = math.sqrt(sum(part * part for part in self.direction))
        if not (math.isfinite(length) and self.direction[2] >= 0.1 * length > 0):
            raise InputError(
                f"the sun must stand above the horizon: z at least 0.1 of the length; got {self.direction}"
            )
        if not all(strength >= 0 for strength in (self.sun, self.sky, self.hemisphere)):
            raise InputError(f"strengths of light must be at least 0; got {self.sun}, {self.sky}, {self.hemisphere}")

    @property
    def towards(self) -> Vector:
        """Direction to the sun, of length 1."""
        length = math.sqrt(sum(part * part for part in self.direction))
        return self.direction[0] / length, self.direction[1] / length, self.direction[2] / length


def light_on(views: Views, light: Light, number: int, view: Tensor, x: Tensor, y: Tensor, depths: Tensor) -> Tensor:
    """Light on the surface of one part where rays meet it, float32 (s, m); not a number where the depth is infinite.

    Args:
        views: the object and its cameras.
        light: on the object.
        number: of the part.
        view: which camera, int64 (m,).
        x: where rays go through the picture, pixels from the left, float32 (s, m).
        y: the same from above.
        depths: where rays meet the part, float32 (s, m).
    """
    part = views.solid.parts[number]
    origin, direction = own_rays(views, number, view, x, y)
    point = tuple(start + depths * way for start, way in zip(origin, direction, strict=True))
    normal = NORMALS[part.kind]((point[0], point[1], point[2]), ratio_of(part))
    return _level(light, views.outward[number].tolist(), normal)


def lit(colour: Vector, level: Tensor) -> Tensor:
    """A colour in some light, float32 (3, …) in [0, 1], of levels of light (…)."""
    return torch.stack([(level * tone).clamp_(max=1) for tone in colour])


def _level(light: Light, outward: list[list[float]], normal: Triple) -> Tensor:
    """Light on surfaces with these normals in a part's own coordinates."""
    x, y, z = (row[0] * normal[0] + row[1] * normal[1] + row[2] * normal[2] for row in outward)
    length = (x * x + y * y + z * z).sqrt_()
    facing = (x * light.towards[0] + y * light.towards[1] + z * light.towards[2]) / length
    return facing.clamp_(min=0) * light.sun + (z / length * light.hemisphere + 1) * light.sky


#: The default light of objects.
DAYLIGHT = Light()


#: Points of the ground along each side, and places on the sun, from which a shadow is computed.
_SIDE, _SUNS = 48, 16

#: Radius of the sun as seen from the ground, radians: a cloudy one, for soft edges.
_SUN_RADIUS = 0.12

#: Share of the light that a full shadow takes away.
_DARKNESS = 0.42


@dataclass(frozen=True, eq=False)
class Shadow:
    """How much of the sun reaches the ground about an object.

    Attributes:
        height: of the ground.
        left: x of the first column of points.
        front: y of the first row of points.
        step: from one point to the next, along x and y.
        light: of rows of y and columns of x, float32 (side, side) in [0, 1]; 1 all along the edge.
    """

    height: float
    left: float
    front: float
    step: tuple[float, float]
    light: Tensor


@lru_cache(maxsize=256)
def shadow_of(solid: Solid, towards: Vector) -> Shadow:
    """The shadow of an object under a sun in a direction of length 1. The ground touches the object from below."""
    points = np.concatenate([part.outer_points() for part in solid.parts])
    height = float(points[:, 2].min())
    suns = _suns(towards)
    reaches = [points[:, :2] - (points[:, 2:] - height) * (sun[:2] / sun[2]) for sun in suns]
    least, most = np.min([one.min(0) for one in reaches], 0), np.max([one.max(0) for one in reaches], 0)
    step = (most - least) / (_SIDE - 9)
    left, front = (least - 4 * step).tolist()
    x = torch.from_numpy(left + step[0] * np.arange(_SIDE))[None, None]
    y = torch.from_numpy(front + step[1] * np.arange(_SIDE))[None, :, None]
    sun = torch.from_numpy(suns)[:, :, None, None]
    dark = torch.zeros(_SUNS, _SIDE, _SIDE, dtype=torch.bool)
    for part in solid.parts:
        matrix = inward(part)
        offset = (x - part.centre[0], y - part.centre[1], torch.tensor(height - 1e-4 - part.centre[2]))
        origin = [(row[0] * offset[0] + row[1] * offset[1] + row[2] * offset[2]).float() for row in matrix]
        ways = [(row[0] * sun[:, 0] + row[1] * sun[:, 1] + row[2] * sun[:, 2]).float() for row in matrix]
        entry = ENTRIES[part.kind]((origin[0], origin[1], origin[2]), (ways[0], ways[1], ways[2]), ratio_of(part))
        dark |= entry < math.inf
    light = 1 - _smoothed(_smoothed(dark.float().mean(0)).T).T * _DARKNESS
    return Shadow(height, left, front, (float(step[0]), float(step[1])), light)


def ground_light(shadow: Shadow, cameras: Cameras, size: int) -> Tensor:
    """What the ground's colour is multiplied with in pictures, float32 (n, h, w) in [0, 1].

    1 where the camera sees no ground: above the horizon, and everywhere from below the ground.
    """
    place = (torch.arange(size) + 0.5 - size / 2) * (1 / focal_length(size))
    x, y = place[None, None], -place[None, :, None]
    axes, places = cameras.axes.float()[..., None, None], cameras.places.float()[..., None, None]
    to_x, to_y, to_z = (axes[:, row, 0] * x + (axes[:, row, 1] * y - axes[:, row, 2]) for row in range(3))
    drop = places[:, 2] - shadow.height
    seen = (to_z < -1e-6) & (drop > 0)
    depth = drop / torch.where(seen, -to_z, math.inf)
    column = ((places[:, 0] + depth * to_x) - shadow.left) * (1 / shadow.step[0])
    row = ((places[:, 1] + depth * to_y) - shadow.front) * (1 / shadow.step[1])
    return torch.where(seen, _between(shadow.light, row, column), 1.0)


def _between(values: Tensor, row: Tensor, column: Tensor) -> Tensor:
    """Values between the points of a grid, by bilinear interpolation; beyond its edge those of the edge."""
    side = len(values)
    row, column = row.clamp(0, side - 1.001), column.clamp(0, side - 1.001)
    below, before = row.floor(), column.floor()
    down, across = row - below, column - before
    index = below.to(torch.int64) * side + before.to(torch.int64)
    flat = values.flatten()
    first, second, third, fourth = flat[index], flat[index + 1], flat[index + side], flat[index + (side + 1)]
    upper, lower = first + (second - first) * across, third + (fourth - third) * across
    return upper + (lower - upper) * down


def _smoothed(values: Tensor) -> Tensor:
    """Rows of a grid averaged with their neighbours by the weights 1, 4, 6, 4, 1: no step from sun to sun remains."""
    height = len(values) - 4
    shifted = [values[start : start + height] for start in range(5)]
    middle = (shifted[0] + shifted[4] + (shifted[1] + shifted[3]) * 4 + shifted[2] * 6) * (1 / 16)
    return torch.cat([values[:2], middle, values[-2:]])


def _suns(towards: Vector) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    """Directions to places all over the sun (16, 3), along a spiral that covers its disc evenly (Vogel 1979)."""
    middle = np.asarray(towards)
    side = np.cross(middle, [0.0, 1.0, 0.0] if abs(middle[1]) < 0.9 else [1.0, 0.0, 0.0])
    side /= np.sqrt((side**2).sum())
    other = np.cross(middle, side)
    number = np.arange(_SUNS)
    # Not so wide that a part of a low sun would lie below the horizon.
    radius = np.sqrt((number + 0.5) / _SUNS) * min(_SUN_RADIUS, towards[2] / 2)
    angle = number * (math.pi * (3 - math.sqrt(5)))
    return middle + (radius * np.cos(angle))[:, None] * side + (radius * np.sin(angle))[:, None] * other
