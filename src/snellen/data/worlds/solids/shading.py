"""Light on the surfaces of an object: the sun, which stands still in the world, and the sky."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from snellen.core.errors import InputError
from snellen.data.worlds.solids.part import Vector
from snellen.data.worlds.solids.primitives import NORMALS, Triple
from snellen.data.worlds.solids.tracing import Views, own_rays, ratio_of

#: Where the sun stands unless said otherwise: over the left shoulder of a camera at azimuth 0.
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


#: What objects are lit by unless said otherwise.
DAYLIGHT = Light()
