"""Objects as paint: where they cover the image, and in which colours."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from snellen.data.worlds.optotypes.distances import DISTANCES
from snellen.data.worlds.optotypes.lattice_noise import smooth, uniform
from snellen.data.worlds.optotypes.scene_tensors import Layer
from snellen.data.worlds.optotypes.surfaces import DARKER, darker_share, texture_period
from snellen.data.worlds.stable_arithmetic import cosine, sine

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
