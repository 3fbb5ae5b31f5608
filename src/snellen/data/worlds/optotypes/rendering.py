"""From the records of scenes to their pictures and masks: what lies behind objects, and how everything is rendered."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor

from snellen.core.errors import InputError
from snellen.data.worlds.optotypes.factors import BACKGROUNDS, NUISANCES, STYLES, Background, Style
from snellen.data.worlds.optotypes.lattice_noise import cell_values, grain, smooth, uniform
from snellen.data.worlds.optotypes.lettering import write_lettering
from snellen.data.worlds.optotypes.nuisances import ON_IMAGES, worsen
from snellen.data.worlds.optotypes.objects import Painted, object_colours, paint, shadow
from snellen.data.worlds.optotypes.scene import Scene, SceneTensors, scene_tensors
from snellen.data.worlds.stable_arithmetic import blend, cosine, length, sine

Draw = Callable[[Tensor, Tensor, Tensor], Tensor]


def background(name: Background, seeds: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Draw one background for several scenes: float32 (n, 3, h, h) in [0, 1].

    Args:
        name: which.
        seeds: of the scenes, int64 (n,).
        x: place of pixels, (1, h, h), −1 to 1.
        y: the same, downwards.
    """
    brighter = uniform(seeds, "background level", 1).mul_(0.12).add_(0.94)[:, :, None, None]
    return _DRAW[name](seeds, x, y).mul_(brighter).clamp_(0, 1)


def _mix(first: tuple[float, float, float], second: tuple[float, float, float], share: Tensor) -> Tensor:
    """Colours between two: (n, 3, h, w) of shares (n, h, w)."""
    start, end = torch.tensor(first)[:, None, None], torch.tensor(second)[:, None, None]
    return start + (end - start) * share[:, None]


def _grey(seeds: Tensor, x: Tensor, y: Tensor) -> Tensor:
    share = smooth(seeds, "grey", x.shape[-1], 0.9)
    return _mix((0.47, 0.47, 0.48), (0.58, 0.58, 0.57), share)


def _grass(seeds: Tensor, x: Tensor, y: Tensor) -> Tensor:
    size = x.shape[-1]
    blades = smooth(seeds, "blades", size, 0.07, 0.35)
    share = blades.mul_(0.7).add_(smooth(seeds, "lawn", size, 0.5).mul_(0.3))
    return _mix((0.13, 0.24, 0.08), (0.50, 0.60, 0.26), share)


def _sand(seeds: Tensor, x: Tensor, y: Tensor) -> Tensor:
    size = x.shape[-1]
    ripples = sine((y + smooth(seeds, "ripples", size, 0.7) * 0.5) * 17).mul_(0.5).add_(0.5)
    share = ripples.mul_(0.55).add_(_grain(seeds, "grains", x).mul_(0.45))
    return _mix((0.64, 0.53, 0.36), (0.86, 0.76, 0.57), share)


def _brick(seeds: Tensor, x: Tensor, y: Tensor) -> Tensor:
    shift = uniform(seeds, "bricks", 2)[:, :, None, None]
    height, width, mortar = 0.30, 0.62, 0.045
    row = ((y + shift[:, 0]) / height).floor()
    along = (x + shift[:, 1]) / width + row * 0.5
    column = along.floor()
    pixel = 2 / x.shape[-1]
    to_side = (along - column - 0.5).abs_().neg_().add_(0.5).mul_(width)
    to_edge = ((y + shift[:, 0]) / height - row - 0.5).abs_().neg_().add_(0.5).mul_(height)
    stone = (torch.minimum(to_side, to_edge) - mortar / 2).div_(pixel).add_(0.5).clamp_(0, 1)
    tone = cell_values(seeds, "tone", column.to(torch.int32), row.to(torch.int32))
    bricks = _mix((0.46, 0.20, 0.15), (0.66, 0.34, 0.25), tone)
    return bricks * stone[:, None] + 0.70 * (1 - stone[:, None])


def _water(seeds: Tensor, x: Tensor, y: Tensor) -> Tensor:
    size = x.shape[-1]
    swell = smooth(seeds, "swell", size, 0.6, 0.3)
    waves = sine(y * 13 + swell * 7).mul_(0.5).add_(0.5)
    share = waves.mul_(0.6).add_(swell.mul_(0.4))
    return _mix((0.10, 0.25, 0.38), (0.42, 0.62, 0.72), share)


def _night(seeds: Tensor, x: Tensor, y: Tensor) -> Tensor:
    size = x.shape[-1]
    sky = _mix((0.03, 0.03, 0.10), (0.12, 0.13, 0.27), smooth(seeds, "sky", size, 1.1))
    cell = 0.16
    column, row = (x / cell).floor(), (y / cell).floor()
    wide, high = column.to(torch.int32), row.to(torch.int32)
    there = cell_values(seeds, "star", wide, high)
    to_x = x / cell - column - 0.25 - 0.5 * cell_values(seeds, "star x", wide, high)
    to_y = y / cell - row - 0.25 - 0.5 * cell_values(seeds, "star y", wide, high)
    radius = 0.20 * (there > 0.72)
    star = (radius - length(to_x, to_y)).mul_(cell * size / 2).add_(0.5).clamp_(0, 1).mul_(radius > 0)
    return sky + (0.85 - sky) * star[:, None]


def _grain(seeds: Tensor, stream: str, x: Tensor) -> Tensor:
    """Grain with cells of 1/32 of the image's side, or of a pixel where that is larger."""
    size = x.shape[-1]
    return grain(seeds, stream, size, size) if size <= 32 else smooth(seeds, stream, size, 2 / 32)


_DRAW: dict[Background, Draw] = {
    "grey": _grey,
    "grass": _grass,
    "sand": _sand,
    "brick": _brick,
    "water": _water,
    "night": _night,
}


#: Toned paper, on which white can be drawn too, and how much of a background is left on it, by style.
PAPER = (0.80, 0.76, 0.67)
WASH: dict[Style, float] = {"line": 0.30, "stippled": 0.55}

#: Width of a line and distance of the dots of ink, in half sides of the image.
LINE, DOT = 0.06, 0.085

#: Share of ink where the image differs most from the paper, and where it is like it.
_DENSEST, _SPARSEST = 0.97, 0.25


@dataclass(frozen=True, eq=False)
class Strokes:
    """What is kept of a layer for a line drawing.

    Attributes:
        coverage: of the object, (m, h, h).
        ink: share of each pixel under a line, (m, h, h).
        colours: of the lines, (m, 3).
    """

    coverage: Tensor
    ink: Tensor
    colours: Tensor


def _paper() -> Tensor:
    return torch.tensor(PAPER)[:, None, None]


def washed(images: Tensor, style: Style) -> Tensor:
    """A background on paper, the fainter the better objects stand out; in the other styles, as it is."""
    wash = WASH.get(style, 1.0)
    return images * wash + _paper() * (1 - wash)


def outline(distance: Tensor, darker: Tensor, coverage: Tensor) -> Tensor:
    """Share of each pixel under a line, (m, h, h): outlines, and a texture as hatching."""
    pixels_per_half_side = distance.shape[-1] / 2
    # The line lies inside the outline, so that the object keeps its size.
    edge = ((distance + LINE / 2).abs_().neg_().add_(LINE / 2)).mul_(pixels_per_half_side).add_(0.5).clamp_(0, 1)
    return torch.maximum(edge, darker * 0.9) * coverage


def draw_line(image: Tensor, strokes: Strokes) -> Tensor:
    """Draw a layer over paper: (m, 3, h, h) → the same."""
    colours = strokes.colours[:, :, None, None]
    filled = blend(image, _paper() + (colours - _paper()) * 0.15, strokes.coverage[:, None])
    return blend(filled, colours, strokes.ink[:, None])


def finish(style: Style, images: Tensor, seeds: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """What a style does to finished images (m, 3, h, h)."""
    if style == "inverted":
        return 1 - images
    if style == "stippled":
        return _stippled(images, seeds, x, y)
    return images


def _stippled(images: Tensor, seeds: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Dots of coloured ink on paper, the denser the more the image differs from it; a dot keeps its place."""
    contrast = (images - _paper()).abs().amax(1).mul_(1.6).clamp_(max=1)
    share = contrast.mul_(_DENSEST - _SPARSEST).add_(_SPARSEST)
    ink = torch.zeros_like(share)
    for number in range(2):
        across, down = x / DOT + number / 2, y / DOT + number / 2
        column, row = across.floor(), down.floor()
        wide, high = column.to(torch.int32), row.to(torch.int32)
        threshold = cell_values(seeds, f"stipple {number}", wide, high)
        off_x = across - column - 0.35 - 0.3 * cell_values(seeds, f"stipple {number} x", wide, high)
        off_y = down - row - 0.35 - 0.3 * cell_values(seeds, f"stipple {number} y", wide, high)
        round_dot = (0.36 - length(off_x, off_y)).mul_(DOT * x.shape[-1] / 2).add_(0.5).clamp_(0, 1)
        ink = torch.maximum(ink, ((share - threshold) * 12).clamp_(0, 1).mul_(round_dot))
    return _paper() + (images - _paper()) * ink[:, None]


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
