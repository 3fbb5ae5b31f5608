"""Procedural images whose class is a shape; light, hue, ground, outline and tilt are drawn by known factors.

All images, those of the tests too, are drawn here and never by a generator: evaluation is not circular.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from snellen.core.randomness import Randomness
from snellen.training.transforms import turn_hue

#: Classes, each a radius of the angle.
SHAPES = ("disc", "triangle", "square", "star", "cross", "drop")

#: Intensities of the light that training images and the usual tests have, and those that training never shows.
SEEN_LIGHT, UNSEEN_LIGHT = (0.45, 0.9), (1.1, 1.5)


@dataclass(frozen=True, eq=False)
class Factors:
    """Everything an image is drawn from, each (n,).

    Attributes:
        shape: class, 0 to 5.
        light: where light comes from, in turns.
        intensity: of the light.
        hue: of the object, in turns.
        ground: grey level of the ground, in [0, 1].
        stroke: width of the outline, as a share of half the side.
        tilt: rotation, in turns.
    """

    shape: Tensor
    light: Tensor
    intensity: Tensor
    hue: Tensor
    ground: Tensor
    stroke: Tensor
    tilt: Tensor

    def __getitem__(self, rows: Tensor) -> Factors:
        return Factors(*(getattr(self, name)[rows] for name in self.__dataclass_fields__))


def draw_factors(count: int, seed: int, *, correlation: float, light: tuple[float, float] = SEEN_LIGHT) -> Factors:
    """Draw images; with the probability ``correlation``, light and hue are those of the class, each for itself.

    Args:
        count: of images, about as many of each class.
        seed: of everything.
        correlation: 0.9 in training; 0: factors are independent of the class.
        light: least and largest intensity.
    """
    rng = Randomness(seed).child("factors").for_examples([str(number) for number in range(count)])
    shape = torch.arange(count) % len(SHAPES)
    drawn = rng.uniform("all", (9,))
    own = (shape + 0.15 + 0.7 * drawn[:, 0]) / len(SHAPES), (shape + 0.15 + 0.7 * drawn[:, 1]) / len(SHAPES)
    turned = torch.where(drawn[:, 2] < correlation, own[0], rng.uniform("light", ()))
    hue = torch.where(drawn[:, 3] < correlation, own[1], rng.uniform("hue", ()))
    return Factors(
        shape,
        turned,
        light[0] + (light[1] - light[0]) * drawn[:, 4],
        hue,
        0.25 + 0.4 * drawn[:, 5],
        0.04 + 0.12 * drawn[:, 6],
        0.1 * (drawn[:, 7] - 0.5),
    )


def relit(factors: Factors, light: Tensor | None = None, hue: Tensor | None = None) -> Factors:
    """The same images under another light or of another hue."""
    return replace(factors, light=factors.light if light is None else light, hue=factors.hue if hue is None else hue)


def draw_images(factors: Factors, side: int = 32) -> Tensor:
    """Images uint8 (n, 3, side, side): a domed shape with an outline on a ground, lit from one side.

    Both ground and object are lit: brightness rises towards the light, and the object is shaded by its slope.
    """
    line = (torch.arange(side) + 0.5) / side * 2 - 1
    y, x = torch.meshgrid(line, line, indexing="ij")
    angle = torch.atan2(y, x)[None] + 2 * torch.pi * factors.tilt[:, None, None]
    radius = (x.square() + y.square()).sqrt()[None]
    edge = _edges(angle)[factors.shape, torch.arange(len(factors.shape))]
    depth = edge - radius  # above 0 inside
    soft = 2.0 / side
    inside = (depth / soft + 0.5).clamp(0, 1)
    line_share = ((factors.stroke[:, None, None] - depth) / soft + 0.5).clamp(0, 1) * inside
    turns = 2 * torch.pi * factors.light[:, None, None]
    slope = (turns.cos() * x + turns.sin() * y) / 1.2  # in about [-1, 1], largest towards the light
    strength = factors.intensity[:, None, None]
    shade = 0.45 + 0.75 * strength * (0.5 + slope)
    ground = factors.ground[:, None, None] * (0.7 + 0.6 * strength * slope)
    colour = turn_hue(torch.tensor([0.95, 0.25, 0.2])[None, :, None, None].expand(len(shade), 3, 1, 1), factors.hue)
    lit = colour * shade[:, None]
    outlined = lit * (1 - 0.75 * line_share[:, None])
    picture = ground[:, None] * (1 - inside[:, None]) + outlined * inside[:, None]
    return (picture.clamp(0, 1) * 255).round().to(torch.uint8)


def hue_of(images: Tensor) -> Tensor:
    """Hue at the middle of images (n, 3, h, w), in turns from −½ to ½: (n,). It is the object's in every shape."""
    side = images.shape[-1]
    middle = images[:, :, 3 * side // 8 : 5 * side // 8, 3 * side // 8 : 5 * side // 8].mean((2, 3))
    red, green, blue = middle.unbind(1)
    return torch.atan2(3**0.5 * (green - blue), 2 * red - green - blue) / (2 * torch.pi)


def light_of(images: Tensor) -> Tensor:
    """Where the brighter border of images (n, 3, h, w) lies, in turns from −½ to ½: (n,)."""
    grey, width = images.mean(1), images.shape[-1] // 4
    down = grey[:, -width:].mean((1, 2)) - grey[:, :width].mean((1, 2))
    right = grey[:, :, -width:].mean((1, 2)) - grey[:, :, :width].mean((1, 2))
    return torch.atan2(down, right) / (2 * torch.pi)


def apart(first: Tensor, second: Tensor) -> Tensor:
    """Distance of angles in turns, from 0 to ½."""
    return ((first - second + 0.5) % 1 - 0.5).abs()


def _edges(angle: Tensor) -> Tensor:
    """Radius of each shape at each angle, (classes, n, h, w)."""

    def polygon(corners: int, size: float) -> Tensor:
        part = 2 * torch.pi / corners
        inner = torch.remainder(angle + torch.pi / 2, part) - part / 2
        return size * torch.cos(torch.tensor(torch.pi / corners)) / inner.cos()

    disc = torch.full_like(angle, 0.6)
    star = 0.32 + 0.42 * torch.cos(2.5 * (angle + torch.pi / 2)).abs()
    bars = 0.2 / torch.minimum(angle.sin().abs(), angle.cos().abs()).clamp_min(1e-3)
    cross = torch.minimum(bars, 0.72 / torch.maximum(angle.sin().abs(), angle.cos().abs()))
    drop = 0.42 + 0.3 * (0.5 * (1 + torch.cos(angle + torch.pi / 2))) ** 3
    return torch.stack([disc, polygon(3, 0.85), polygon(4, 0.8), star, cross, drop])
