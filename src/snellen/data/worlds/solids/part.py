"""The record of an object: simple solids, each with its place, pose, size and colour."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from snellen.core.errors import InputError

#: Simple solids, as :mod:`snellen.data.worlds.solids.primitives` describes them.
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
