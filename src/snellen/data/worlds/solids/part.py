"""The record of an object: simple solids, each with its place, pose, size and colour, and where a ray enters them.

All solids are given in their own coordinates, in which they reach from −1 to 1 along each axis; scaling a ray with the
solid leaves the ray's parameter as it is, so that a ball is any ellipsoid and a cube any box. Only sums, products,
quotients and roots are used, one after the other: the same bits in every batch. Rays are origin + t · direction, and
origin and direction come as three tensors each, which broadcast. Entries are the least t > 0 at which a ray comes from
outside into the solid, infinite where there is none; directions need not have length 1.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from snellen.core.errors import InputError

#: Simple solids, as :mod:`snellen.data.worlds.solids.part` describes them.
Kind = Literal["box", "ellipsoid", "cylinder", "cone", "capsule", "tube"]

KINDS: tuple[Kind, ...] = get_args(Kind)

Vector = tuple[float, float, float]

#: Corners of the polygon that is taken for a circle.
_AROUND = 32


@dataclass(frozen=True, kw_only=True)
class Part:
    """One simple solid.

    >>> Part(kind="ellipsoid", half_sizes=(0.2, 0.2, 0.2)).centre
    (0.0, 0.0, 0.0)

    Attributes:
        kind: which.
        half_sizes: half the extent along its own x, y and z, each above 0. Cylinders, cones, capsules and tubes stand
            along their z. A capsule is as thick in x as in y, and its ends are half balls of that radius; its half
            size along z reaches to their tips and must be at least the radius.
        centre: of its box, in the world.
        turn: degrees about its x, then about the world's y and z.
        colour: sRGB in [0, 1].
        ratio: of a cone, radius of the upper end, of a tube, inner radius, in that of the lower end or the outside;
            in [0, 1). Others ignore it.

    Raises:
        InputError: a size that is not above 0, a ratio out of range, or an uneven capsule.
    """

    kind: Kind
    half_sizes: Vector
    centre: Vector = (0.0, 0.0, 0.0)
    turn: Vector = (0.0, 0.0, 0.0)
    colour: Vector = (0.8, 0.8, 0.8)
    ratio: float = 0.0

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise InputError(f"a part must be one of {', '.join(KINDS)}; got {self.kind!r}")
        if not all(math.isfinite(size) and size > 0 for size in self.half_sizes):
            raise InputError(f"half sizes of a part must be finite and above 0; got {self.half_sizes}")
        if not 0 <= self.ratio < 1:
            raise InputError(f"the ratio of a part must be at least 0 and below 1; got {self.ratio}")
        across, depth, length = self.half_sizes
        if self.kind == "capsule" and not (across == depth <= length):
            raise InputError(f"a capsule must be round and at least as long as thick; got half sizes {self.half_sizes}")

    @property
    def axes(self) -> NDArray[np.float64]:
        """Directions of its own axes in the world, as columns (3, 3)."""
        about_x, about_y, about_z = (math.radians(angle) for angle in self.turn)
        return _turning(about_z, 0, 1) @ _turning(about_y, 2, 0) @ _turning(about_x, 1, 2)

    def outer_points(self) -> NDArray[np.float64]:
        """Points (k, 3) in the world whose hull holds the part, and hardly more."""
        return self.centre + (_unit_points(self) * self.half_sizes) @ self.axes.T


@dataclass(frozen=True)
class Solid:
    """An object.

    Attributes:
        class_name: what people call it.
        parts: what it is made of, at least one.
    """

    class_name: str
    parts: tuple[Part, ...]

    @property
    def content_hash(self) -> str:
        """Hash of everything that is known about it (sha256, hex)."""
        return hashlib.sha256(repr(self).encode()).hexdigest()


def placed(class_name: str, parts: Sequence[Part]) -> Solid:
    """An object about the origin that fits a sphere of radius 1, z up: moved and scaled as a whole.

    The centre of the box about it goes to the origin.

    >>> placed("ball", [Part(kind="ellipsoid", half_sizes=(5, 5, 5), centre=(9, 0, 0))]).parts[0].centre
    (0.0, 0.0, 0.0)

    Raises:
        InputError: there are no parts.
    """
    if not parts:
        raise InputError(f"a {class_name} needs at least one part")
    points = np.concatenate([part.outer_points() for part in parts])
    middle = (points.min(0) + points.max(0)) / 2
    scale = 1 / float(np.sqrt(((points - middle) ** 2).sum(1).max()))
    moved = tuple(
        replace(
            part,
            centre=_vector((np.asarray(part.centre) - middle) * scale),
            half_sizes=_vector(np.asarray(part.half_sizes) * scale),
        )
        for part in parts
    )
    return Solid(class_name, moved)


def _vector(values: NDArray[np.float64]) -> Vector:
    # Rounded, so that the record of an object is the same on every machine; down, so that it still fits.
    x, y, z = (math.trunc(value * 1e6) / 1e6 for value in values.tolist())
    return x, y, z


def _turning(angle: float, first: int, second: int) -> NDArray[np.float64]:
    """Rotation (3, 3) that turns one axis towards another."""
    matrix = np.eye(3)
    matrix[first, first] = matrix[second, second] = math.cos(angle)
    matrix[second, first], matrix[first, second] = math.sin(angle), -math.sin(angle)
    return matrix


def _unit_points(part: Part) -> NDArray[np.float64]:
    """Points about the part before it is scaled, turned and moved."""
    if part.kind == "box":
        return np.array([[x, y, z] for x in (-1.0, 1.0) for y in (-1.0, 1.0) for z in (-1.0, 1.0)])
    angles = np.arange(_AROUND) * (math.tau / _AROUND)
    # A polygon about a circle, not in it.
    circle = np.stack([np.cos(angles), np.sin(angles), np.zeros(_AROUND)], 1) / math.cos(math.pi / _AROUND)
    if part.kind in ("ellipsoid", "capsule"):
        half = part.half_sizes[0] / part.half_sizes[2] if part.kind == "capsule" else 1.0
        heights = np.sin(np.linspace(-math.pi / 2, math.pi / 2, _AROUND // 2 + 1))
        rings = [circle * math.sqrt(1 - height**2) + np.array([0, 0, height * half]) for height in heights]
        ball = np.concatenate(rings) / math.cos(math.pi / _AROUND)
        to_end = np.array([0, 0, 1 - half])
        return np.concatenate([ball - to_end, ball + to_end]) if part.kind == "capsule" else ball
    upper = part.ratio if part.kind == "cone" else 1.0
    to_end = np.array([0, 0, 1.0])
    return np.concatenate([circle - to_end, circle * upper + to_end])


Triple = tuple[Tensor, Tensor, Tensor]

#: Takes the place of directions and of squared lengths that are 0.
_TINY = 1e-12


def box_entry(origin: Triple, direction: Triple) -> Tensor:
    """Cube with corners (±1, ±1, ±1): the slabs between opposite faces.

    >>> along = (torch.tensor(0.0), torch.tensor(0.0), torch.tensor(2.0))
    >>> box_entry((torch.tensor(0.5), torch.tensor(0.5), torch.tensor(-3.0)), along).item()
    1.0
    """
    enter, leave = _slab(origin[0], direction[0])
    for place, way in zip(origin[1:], direction[1:], strict=True):
        first, last = _slab(place, way)
        enter, leave = torch.maximum(enter, first), torch.minimum(leave, last)
    return _where_entered(enter, leave)


def ellipsoid_entry(origin: Triple, direction: Triple) -> Tensor:
    """Ball of radius 1: the lesser root of a quadratic equation."""
    along = _dot(direction, direction)
    half = _dot(origin, direction)
    root, found = _root(half, along, _dot(origin, origin) - 1)
    enter = (-half - root) / along
    return torch.where(found & (enter > 0), enter, math.inf)


def cylinder_entry(origin: Triple, direction: Triple) -> Tensor:
    """Cylinder of radius 1 between z = −1 and z = 1."""
    enter, leave = _round(origin, direction, 1.0)
    first, last = _slab(origin[2], direction[2])
    return _where_entered(torch.maximum(enter, first), torch.minimum(leave, last))


def tube_entry(origin: Triple, direction: Triple, ratio: float) -> Tensor:
    """Cylinder of radius 1 between z = −1 and z = 1 without the one of radius ``ratio`` within."""
    enter, leave = _round(origin, direction, 1.0)
    first, last = _slab(origin[2], direction[2])
    enter, leave = torch.maximum(enter, first), torch.minimum(leave, last)
    inner_enter, inner_leave = _round(origin, direction, ratio)
    # What comes in through the hole meets the wall where it leaves the hole.
    through = (inner_enter <= enter) & (enter < inner_leave)
    return _where_entered(torch.where(through, inner_leave, enter), leave)


def cone_entry(origin: Triple, direction: Triple, ratio: float) -> Tensor:
    """Cone of radius 1 at z = −1 and of radius ``ratio`` at z = 1: the first of side and ends.

    The side is x² + y² = (m + k·z)² with m = (1 + ratio) / 2 and k = (ratio − 1) / 2.
    """
    middle, slope = (1 + ratio) / 2, (ratio - 1) / 2
    x, y, z = origin
    to_x, to_y, to_z = direction
    radius, to_radius = middle + slope * z, slope * to_z
    along = to_x * to_x + to_y * to_y - to_radius * to_radius
    along = torch.where(along.abs() < _TINY, _TINY, along)
    half = x * to_x + y * to_y - radius * to_radius
    root, found = _root(half, along, x * x + y * y - radius * radius)
    entry = torch.full_like(root, math.inf)
    for enter in ((-half - root) / along, (-half + root) / along):
        height = z + enter * to_z
        entry = torch.where(found & (enter > 0) & (height.abs() <= 1) & (enter < entry), enter, entry)
    steep = torch.where(to_z.abs() < _TINY, _TINY, to_z)
    for end, reach in ((-1.0, 1.0), (1.0, ratio)):
        enter = (end - z) / steep
        across, up = x + enter * to_x, y + enter * to_y
        within = across * across + up * up <= reach * reach
        entry = torch.where(within & (enter > 0) & (enter < entry), enter, entry)
    return entry


def capsule_entry(origin: Triple, direction: Triple, ratio: float) -> Tensor:
    """Half balls at the ends of a cylinder, in coordinates where the radius is 1 and the tips lie at z = ±1 / ratio.

    Args:
        origin: where rays start.
        direction: where they go.
        ratio: radius in half the length, in (0, 1].
    """
    straight = 1 / ratio - 1
    x, y, z = origin
    to_x, to_y, to_z = direction
    enter, leave = _round(origin, direction, 1.0)
    height = z + enter * to_z
    side = (height.abs() <= straight) & (enter > 0) & (enter < leave)
    entry = torch.where(side, enter, math.inf)
    along = _dot(direction, direction)
    for end in (-straight, straight):
        offset = z - end
        half = x * to_x + y * to_y + offset * to_z
        root, found = _root(half, along, x * x + y * y + offset * offset - 1)
        ball = (-half - root) / along
        entry = torch.where(found & (ball > 0) & (ball < entry), ball, entry)
    return entry


def box_normal(point: Triple) -> Triple:
    """Outward normal of the cube at a point of its surface (not of length 1 where faces meet)."""
    sizes = [value.abs() for value in point]
    most = torch.maximum(torch.maximum(sizes[0], sizes[1]), sizes[2])
    x, y, z = (torch.where(size == most, value.sign(), 0.0) for value, size in zip(point, sizes, strict=True))
    return x, y, z


def ellipsoid_normal(point: Triple) -> Triple:
    """Outward normal of the ball."""
    return point


def cone_normal(point: Triple, ratio: float) -> Triple:
    """Outward normal of the cone, of any length; ``ratio`` 1 is the cylinder."""
    x, y, z = point
    middle, slope = (1 + ratio) / 2, (ratio - 1) / 2
    radius = middle + slope * z
    beyond_side = (x * x + y * y).sqrt() - radius
    end = z.abs() - 1 > beyond_side
    return torch.where(end, 0.0, x), torch.where(end, 0.0, y), torch.where(end, z.sign(), -slope * radius)


def tube_normal(point: Triple, ratio: float) -> Triple:
    """Outward normal of the tube, of any length: inwards on the inner side."""
    x, y, z = point
    radius = (x * x + y * y).sqrt()
    to_outside, to_inside, to_end = (radius - 1).abs(), (radius - ratio).abs(), (z.abs() - 1).abs()
    end = (to_end < to_outside) & (to_end < to_inside)
    facing = torch.where(to_inside < to_outside, -1.0, 1.0)
    return torch.where(end, 0.0, x * facing), torch.where(end, 0.0, y * facing), torch.where(end, z.sign(), 0.0)


def capsule_normal(point: Triple, ratio: float) -> Triple:
    """Outward normal of the capsule, in the coordinates of :func:`capsule_entry`."""
    straight = 1 / ratio - 1
    x, y, z = point
    return x, y, z - z.clamp(-straight, straight)


#: Entry and normal of each kind, given the ratio of the part.
ENTRIES: dict[Kind, Callable[[Triple, Triple, float], Tensor]] = {
    "box": lambda origin, direction, ratio: box_entry(origin, direction),
    "ellipsoid": lambda origin, direction, ratio: ellipsoid_entry(origin, direction),
    "cylinder": lambda origin, direction, ratio: cylinder_entry(origin, direction),
    "cone": cone_entry,
    "capsule": capsule_entry,
    "tube": tube_entry,
}
NORMALS: dict[Kind, Callable[[Triple, float], Triple]] = {
    "box": lambda point, ratio: box_normal(point),
    "ellipsoid": lambda point, ratio: ellipsoid_normal(point),
    "cylinder": lambda point, ratio: cone_normal(point, 1.0),
    "cone": cone_normal,
    "capsule": capsule_normal,
    "tube": tube_normal,
}


def _dot(first: Triple, second: Triple) -> Tensor:
    return first[0] * second[0] + first[1] * second[1] + first[2] * second[2]


def _slab(place: Tensor, way: Tensor) -> tuple[Tensor, Tensor]:
    """Where rays come between −1 and 1 along one axis, and where they leave."""
    per_unit = 1 / torch.where(way.abs() < _TINY, _TINY, way)
    middle, reach = -place * per_unit, per_unit.abs()
    return middle - reach, middle + reach


def _round(origin: Triple, direction: Triple, radius: float) -> tuple[Tensor, Tensor]:
    """Where rays come within a distance of the z axis, and where they leave; leave < enter where they do not."""
    along = (direction[0] * direction[0] + direction[1] * direction[1]).clamp_(min=_TINY)
    half = origin[0] * direction[0] + origin[1] * direction[1]
    root, found = _root(half, along, origin[0] * origin[0] + origin[1] * origin[1] - radius * radius)
    return torch.where(found, (-half - root) / along, math.inf), torch.where(found, (-half + root) / along, -math.inf)


def _root(half: Tensor, along: Tensor, constant: Tensor) -> tuple[Tensor, Tensor]:
    """Root of the discriminant of along · t² + 2 · half · t + constant, and where there is one."""
    discriminant = half * half - along * constant
    return discriminant.clamp(min=0).sqrt_(), discriminant > 0


def _where_entered(enter: Tensor, leave: Tensor) -> Tensor:
    return torch.where((enter < leave) & (enter > 0), enter, math.inf)
