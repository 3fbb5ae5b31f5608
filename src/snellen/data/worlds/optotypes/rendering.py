"""From the records of scenes to their pictures and masks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor

from snellen.core.errors import InputError
from snellen.data.worlds.optotypes.backgrounds import background
from snellen.data.worlds.optotypes.factors import BACKGROUNDS, NUISANCES, STYLES
from snellen.data.worlds.optotypes.lettering import write_lettering
from snellen.data.worlds.optotypes.nuisances import ON_IMAGES, worsen
from snellen.data.worlds.optotypes.objects import Painted, object_colours, paint, shadow
from snellen.data.worlds.optotypes.scene import Scene, SceneTensors, scene_tensors
from snellen.data.worlds.optotypes.styles import WASH, Strokes, draw_line, finish, outline, washed
from snellen.data.worlds.stable_arithmetic import blend, cosine, sine

#: Changes when the same record would give other pixels.
VERSION = 1

Name = TypeVar("Name", bound=str)

LEAST_SIZE, LARGEST_SIZE = 8, 2048


@dataclass(frozen=True, eq=False)
class Rendered:
    """Pictures of scenes.

    Attributes:
        pixels: uint8 (n, 3, h, h).
        coverage: share of each pixel in which an object is seen, float32 (n, k, h, h) in [0, 1]: what lies over an
            object takes away from it; 0 where a scene has fewer objects.
    """

    pixels: Tensor
    coverage: Tensor


def render(scenes: Sequence[Scene], size: int) -> Rendered:
    """Draw scenes; each as if it were drawn alone.

    >>> from snellen.data.worlds.optotypes.scene import SceneObject
    >>> drawn = render([Scene(objects=(SceneObject(shape="circle", colour="red", radius=0.5),))], 32)
    >>> tuple(drawn.pixels.shape), drawn.coverage[0, 0, 16, 16].item()
    ((1, 3, 32, 32), 1.0)

    Args:
        scenes: n records.
        size: side of the pictures, pixels, 8 to 2048.

    Raises:
        InputError: no scenes, or another size.
    """
    _check(scenes, size)
    with torch.inference_mode():
        images, coverage = _draw(scene_tensors(scenes), size)
        return Rendered(images.clamp_(0, 1).mul_(255).round_().to(torch.uint8), coverage)


def visible(scenes: Sequence[Scene], size: int) -> Tensor:
    """Where objects are seen, without drawing the pictures: the coverage of :func:`render`, bit for bit.

    Raises:
        InputError: as :func:`render`.
    """
    _check(scenes, size)
    with torch.inference_mode():
        batch = scene_tensors(scenes)
        x, y = _places(size)
        coverage = torch.zeros(len(scenes), len(batch.layers), size, size)
        for number, layer in enumerate(batch.layers):
            _hide(coverage, paint(layer, batch.light[layer.scenes, 2], x, y), layer.scenes, number)
        return coverage


def _check(scenes: Sequence[Scene], size: int) -> None:
    if not scenes:
        raise InputError("there are no scenes to draw")
    if not LEAST_SIZE <= size <= LARGEST_SIZE:
        raise InputError(f"a picture must be {LEAST_SIZE} to {LARGEST_SIZE} pixels wide, got {size}")


def _places(size: int) -> tuple[Tensor, Tensor]:
    """Place of each pixel's centre, (1, size, size), −1 to 1: to the right, and downwards."""
    place = (torch.arange(size, dtype=torch.float32) + 0.5) * (2 / size) - 1
    return place[None, None, :].expand(1, size, size), place[None, :, None].expand(1, size, size)


def _hide(coverage: Tensor, painted: Painted, scenes: Tensor, number: int) -> None:
    """Enter the coverage of one layer, and take it from what lies below."""
    coverage[scenes, :number] *= (1 - painted.coverage)[:, None]
    coverage[scenes, number] = painted.coverage


def _draw(batch: SceneTensors, size: int) -> tuple[Tensor, Tensor]:
    x, y = _places(size)
    images = _grounds(batch, x, y)
    coverage = torch.zeros(len(images), len(batch.layers), size, size)
    for number, layer in enumerate(batch.layers):
        painted = paint(layer, batch.light[layer.scenes, 2], x, y)
        _cover(batch, images, painted, layer.scenes)
        _hide(coverage, painted, layer.scenes, number)
    images = _lit(images, batch.light, x, y)
    for style, rows in _groups([scene.style for scene in batch.scenes], STYLES):
        images[rows] = finish(style, images[rows], batch.seeds[rows], x, y)
    for position, scene in enumerate(batch.scenes):
        if scene.lettering is not None:
            images[position] = write_lettering(images[position], scene.lettering)
    for nuisance in ON_IMAGES:
        strength = batch.nuisances[:, NUISANCES.index(nuisance)]
        rows = strength.nonzero().flatten()
        if len(rows):
            images[rows] = worsen(nuisance, images[rows], batch.seeds[rows], strength[rows], x, y)
    return images, coverage


def _grounds(batch: SceneTensors, x: Tensor, y: Tensor) -> Tensor:
    images = torch.empty(len(batch.scenes), 3, *x.shape[1:])
    for name, rows in _groups([scene.background for scene in batch.scenes], BACKGROUNDS):
        images[rows] = background(name, batch.seeds[rows], x, y)
    for style, rows in _groups([scene.style for scene in batch.scenes], tuple(WASH)):
        images[rows] = washed(images[rows], style)
    return images


def _cover(batch: SceneTensors, images: Tensor, painted: Painted, scenes: Tensor) -> None:
    """Lay one layer of objects over the images of their scenes."""
    lines = torch.tensor([batch.scenes[position].style == "line" for position in scenes.tolist()])
    below = images[scenes]
    shaded = below * shadow(painted)[:, None]
    covered = blend(shaded, object_colours(painted), painted.coverage[:, None])
    if bool(lines.any()):
        ink = outline(painted.distance[lines], painted.darker[lines], painted.coverage[lines])
        covered[lines] = draw_line(below[lines], Strokes(painted.coverage[lines], ink, painted.colours[lines]))
    images[scenes] = covered


def _lit(images: Tensor, light: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """The light's level, its colour, and how it falls off towards the far side."""
    level, warmth, direction, unevenness = light[:, :, None, None].unbind(1)
    towards = (x * sine(direction) - y * cosine(direction)) * 0.5
    falloff = (towards - 0.5).mul_(unevenness * 0.45).add_(1).mul_(level)
    tint = torch.stack([1 + 0.08 * warmth, torch.ones_like(warmth), 1 - 0.08 * warmth], 1)
    return images.mul_(falloff[:, None]).mul_(tint).clamp_(0, 1)


def _groups(values: Sequence[Name], order: Sequence[Name]) -> list[tuple[Name, Tensor]]:
    """Positions of each value that occurs, in the order of the names."""
    found = [(name, [place for place, value in enumerate(values) if value == name]) for name in order]
    return [(name, torch.tensor(rows)) for name, rows in found if rows]
