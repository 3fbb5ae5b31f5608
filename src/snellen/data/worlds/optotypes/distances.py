"""How far a point is from the outline of a shape: negative inside.

Shapes lie in the circle of radius 1 about the origin, x to the right and y downwards. Near the outline the distance is
exact but for outer corners, where it is that to the lines that meet there.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from snellen.data.worlds.optotypes.factors import Shape
from snellen.data.worlds.stable_arithmetic import length

Distance = Callable[[Tensor, Tensor], Tensor]


def circle(x: Tensor, y: Tensor) -> Tensor:
    """A disc of radius 0.86."""
    return length(x, y).sub_(0.86)


def square(x: Tensor, y: Tensor) -> Tensor:
    """A square of half side 0.7."""
    return torch.maximum(x.abs(), y.abs()).sub_(0.7)


def triangle(x: Tensor, y: Tensor) -> Tensor:
    """An equilateral triangle that points upwards, corners on the circle."""
    return torch.maximum(x.abs() * (math.sqrt(3) / 2) - y * 0.5, y).sub_(0.5)


def star(x: Tensor, y: Tensor) -> Tensor:
    """A pentagram without its inner lines, points on the circle: what lies beyond at most one of its five lines."""
    most = second = torch.full_like(x, -math.inf)
    for point in range(5):
        angle = point * math.tau / 5
        beyond = (x * math.sin(angle)).sub_(y * math.cos(angle))
        second = torch.maximum(second, torch.minimum(most, beyond))
        most = torch.maximum(most, beyond)
    return second - math.cos(math.tau / 5)


def cross(x: Tensor, y: Tensor) -> Tensor:
    """An upright cross of four equal arms."""
    x, y = x.abs(), y.abs()
    return torch.maximum(torch.maximum(x, y) - 0.9, torch.minimum(x, y) - 0.34)


def ring(x: Tensor, y: Tensor) -> Tensor:
    """A ring between the radii 0.46 and 0.94."""
    return length(x, y).sub_(0.7).abs_().sub_(0.24)


def heart(x: Tensor, y: Tensor) -> Tensor:
    """Two discs over a square that stands on its corner."""
    x, y = x.abs(), y - 0.12
    half, slant = 0.52, math.sqrt(0.5)
    turned_x, turned_y = (x + y) * slant, (y - x) * slant
    body = torch.maximum(turned_x.abs(), turned_y.abs()).sub_(half)
    middle = half * slant
    lobe = length(x - middle, y + middle).sub_(half)
    return torch.minimum(body, lobe)


def crescent(x: Tensor, y: Tensor) -> Tensor:
    """A disc without a smaller one beside its centre, open to the right."""
    return torch.maximum(length(x, y).sub_(0.92), 0.68 - length(x - 0.46, y))


def arrow(x: Tensor, y: Tensor) -> Tensor:
    """An arrow that points upwards."""
    x = x.abs()
    slope = math.hypot(0.72, 0.85)
    head = torch.maximum((x * 0.85 - (y + 0.95) * 0.72) / slope, y + 0.10)
    shaft = torch.maximum(x - 0.3, torch.maximum(y - 0.92, -0.2 - y))
    return torch.minimum(head, shaft)


def hourglass(x: Tensor, y: Tensor) -> Tensor:
    """Two triangles that meet at a narrow waist."""
    x, y = x.abs(), y.abs()
    return torch.maximum(y - 0.84, (x - 0.16 - 0.58 * y) / math.hypot(1, 0.58))


DISTANCES: dict[Shape, Distance] = {
    "circle": circle,
    "square": square,
    "triangle": triangle,
    "star": star,
    "cross": cross,
    "ring": ring,
    "heart": heart,
    "crescent": crescent,
    "arrow": arrow,
    "hourglass": hourglass,
}
