"""Objects as paint: how far a point is from a shape, where they cover the image, and in which colours.

Shapes lie in the circle of radius 1 about the origin, x to the right and y downwards. Near the outline the distance is
exact but for outer corners, where it is that to the lines that meet there.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from snellen.data.worlds.optotypes.factors import Shape, Texture
from snellen.data.worlds.optotypes.lattice_noise import smooth, uniform
from snellen.data.worlds.optotypes.scene import Layer
from snellen.data.worlds.stable_arithmetic import cosine, length, sine

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


#: Period of a texture, in half sides of the image, and the most of an object's radius that it takes. It belongs to the
#: image and not to the object, so that small objects keep their texture as long as they can.
PERIOD, PERIOD_OF_RADIUS = 0.36, 0.64

#: Of the object's colour, what is left where a texture is darker.
DARKER = 0.28


def texture_period(radius: Tensor) -> Tensor:
    """Period of textures on objects of a radius, both in half sides of the image."""
    return (radius * PERIOD_OF_RADIUS).clamp(max=PERIOD)


def darker_share(texture: Texture, x: Tensor, y: Tensor, sharpness: Tensor) -> Tensor:
    """Share of each pixel that is darker: in [0, 1], of the shape of ``x``.

    Args:
        texture: its name.
        x: place on the object, in periods, to its right.
        y: place on the object, in periods, downwards.
        sharpness: periods in a pixel, broadcast to ``x``, inverted: pixels in a period.
    """
    if texture == "plain":
        return torch.zeros_like(x)
    if texture == "striped":
        depth = 0.25 - _to_middle(y)
    elif texture == "dotted":
        depth = 0.29 - length(_to_middle(x), _to_middle(y))
    else:
        # Inside one of the two kinds of squares: the nearer of both edges counts, with the sign of the square.
        across, down = 0.25 - _to_middle(x), 0.25 - _to_middle(y)
        depth = torch.minimum(across.abs(), down.abs()) * across.sign() * down.sign()
    return (depth * sharpness).add_(0.5).clamp_(0, 1)


def _to_middle(place: Tensor) -> Tensor:
    """Distance to the nearest whole number, in [0, 0.5]."""
    return (place - place.round()).abs_()


#: How far a rim reaches inwards and a shadow outwards, in half sides of the image, and what a shadow takes at most.
RIM, SHADOW_REACH, SHADOW = 0.05, 0.16, 0.4

#: Of the colour, what is left at the rim.
RIM_COLOUR = 0.55

#: How far an individual's proportions deviate from the ideal shape, how far it is bent, and how far each channel of its
#: colour deviates. Small enough that no shape looks like another.
PROPORTION, BEND, TINT = 0.09, 0.07, 0.05

#: Displacement of an outline at stroke strength 5, in half sides of the image, and the width of its waves.
UNSTEADINESS, WAVE = 0.20, 0.15


@dataclass(frozen=True, eq=False)
class Painted:
    """One layer of objects.

    Attributes:
        distance: to the outline in half sides of the image, negative inside, float32 (m, h, h).
        coverage: share of each pixel inside the outline, float32 (m, h, h).
        darker: share of each pixel that the texture makes darker, float32 (m, h, h).
        depth: height of the surface along the light, in [−1, 1], float32 (m, h, h).
        colours: of the individuals, float32 (m, 3).
    """

    distance: Tensor
    coverage: Tensor
    darker: Tensor
    depth: Tensor
    colours: Tensor


def paint(layer: Layer, light_direction: Tensor, x: Tensor, y: Tensor) -> Painted:
    """Paint one layer.

    Args:
        layer: m objects.
        light_direction: from where the light comes, clockwise from above, radians (m,).
        x: place of pixels, (1, h, h), −1 to 1.
        y: the same, downwards.
    """
    size = x.shape[-1]
    x, y = _unsteady(layer, x, y)
    centre_x, centre_y, radius, turn_x, turn_y = layer.places[:, :, None, None].unbind(1)
    moved_x, moved_y = x - centre_x, y - centre_y
    own_x = moved_x * turn_x + moved_y * turn_y
    own_y = moved_y * turn_x - moved_x * turn_y
    ideal_x, ideal_y, tint = _individual(layer.instances, own_x / radius, own_y / radius)
    distance = _distances(layer, ideal_x, ideal_y).mul_(radius)
    pixels_per_half_side = size / 2
    period = texture_period(radius)
    darker = torch.zeros_like(distance)
    phase = uniform(layer.seeds, "texture phase", 2).mul_(0.16)[:, :, None, None]
    for texture, rows in layer.textures.items():
        if texture != "plain":
            steps = period[rows]
            place_x, place_y = own_x[rows] / steps + phase[rows, 0], own_y[rows] / steps + phase[rows, 1]
            darker[rows] = darker_share(texture, place_x, place_y, steps * pixels_per_half_side)
    to_light_x, to_light_y = sine(light_direction)[:, None, None], -cosine(light_direction)[:, None, None]
    return Painted(
        distance=distance,
        coverage=(distance * -pixels_per_half_side).add_(0.5).clamp_(0, 1),
        darker=darker,
        depth=(moved_x * to_light_x + moved_y * to_light_y).div_(radius).clamp_(-1, 1),
        colours=(layer.colours + tint).clamp_(0, 1),
    )


def object_colours(painted: Painted) -> Tensor:
    """Colours of objects in full light: textured, rounded by the light, with a darker rim: (m, 3, h, h)."""
    rim = (painted.distance / -RIM).clamp_(0, 1).mul_(1 - RIM_COLOUR).add_(RIM_COLOUR)
    shade = (painted.darker * (DARKER - 1)).add_(1).mul_(rim).mul_(painted.depth * 0.14 + 0.95)
    return painted.colours[:, :, None, None] * shade[:, None]


def shadow(painted: Painted) -> Tensor:
    """What is left of the light around objects, (m, h, h): darkest at the outline."""
    nearness = (painted.distance / -SHADOW_REACH).add_(1).clamp_(0, 1)
    return nearness.square_().mul_(-SHADOW).add_(1)


def _distances(layer: Layer, x: Tensor, y: Tensor) -> Tensor:
    if len(layer.shapes) == 1:
        return DISTANCES[next(iter(layer.shapes))](x, y)
    found = torch.empty_like(x)
    for shape, rows in layer.shapes.items():
        found[rows] = DISTANCES[shape](x[rows], y[rows])
    return found


def _individual(instances: Tensor, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Where a point of an individual lies on the ideal shape, and how its colour deviates (m, 3)."""
    deviation = uniform(instances, "individual", 6).mul_(2).sub_(1).mul_((instances > 0)[:, None])
    proportion, bend, phase = deviation[:, :3, None, None].unbind(1)
    bent_x = x * (1 + PROPORTION * proportion) + BEND * bend * sine(y * 2.2 + phase * 3)
    bent_y = y * (1 - PROPORTION * proportion)
    return bent_x, bent_y, deviation[:, 3:] * TINT


def _unsteady(layer: Layer, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Places moved by smooth noise, so that outlines waver; without a stroke strength they stay as they are."""
    if not bool((layer.stroke > 0).any()):
        return x, y
    reach = (layer.stroke * (UNSTEADINESS / 5 * 2))[:, None, None]
    size = x.shape[-1]
    moved_x = x + smooth(layer.seeds, "stroke x", size, WAVE).sub_(0.5).mul_(reach)
    moved_y = y + smooth(layer.seeds, "stroke y", size, WAVE).sub_(0.5).mul_(reach)
    return moved_x, moved_y
