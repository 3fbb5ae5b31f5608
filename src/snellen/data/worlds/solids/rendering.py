"""Pictures of objects in three dimensions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from snellen.core.errors import InputError, unknown_name
from snellen.data.worlds.solids.part import Solid, Vector
from snellen.data.worlds.solids.shading import DAYLIGHT, Light, ground_light, light_on, lit, shadow_of
from snellen.data.worlds.solids.tracing import (
    NOTHING,
    Cameras,
    Views,
    cameras_of,
    extents,
    hulls_of,
    sample_places,
    trace_pictures,
    trace_pixels,
    views_of,
)

#: Changes when the same object and viewpoint come to give another picture.
VERSION = "solids 1"

LEAST_SIZE, LARGEST_SIZE = 8, 1024

#: Rays through every pixel, and those through a pixel that shows more than one surface.
_SAMPLES, _EDGE_SAMPLES = 4, 16

#: Rays traced together.
_RAYS = 2**18

WHITE: Vector = (1.0, 1.0, 1.0)


@dataclass(frozen=True, kw_only=True)
class SolidRenderer:
    """Renders objects from anywhere (a :class:`~snellen.data.worlds.viewpoints.ViewRenderer`).

    Four rays go through every pixel, and sixteen where those meet different parts. A picture does not depend, to the
    bit, on the pictures it is rendered with. Nothing is differentiable.

    >>> from snellen.data.worlds.solids.part import Part, placed
    >>> ball = placed("ball", [Part(kind="ellipsoid", half_sizes=(1, 1, 1), colour=(0.9, 0.2, 0.1))])
    >>> images, coverage = SolidRenderer(solids={"a": ball}, size=32).render("a", torch.tensor([[0.0, 0, 0, 4, 0, 0]]))
    >>> images.shape, coverage[0, 16, 16].item(), coverage[0, 0, 0].item()
    (torch.Size([1, 3, 32, 32]), 1.0, 0.0)

    Attributes:
        solids: id → object.
        size: height and width of the pictures, 8 to 1024 pixels.
        background: colour behind the object, sRGB in [0, 1].
        light: on the object.
        shadow: whether the object casts a shadow on ground below it, which has the colour of the background. From below
            the ground nothing is seen of it.

    Raises:
        InputError: a size or a colour out of range.
    """

    solids: Mapping[str, Solid]
    size: int = 48
    background: Vector = WHITE
    light: Light = DAYLIGHT
    shadow: bool = False

    def __post_init__(self) -> None:
        if not LEAST_SIZE <= self.size <= LARGEST_SIZE:
            raise InputError(f"pictures can be {LEAST_SIZE} to {LARGEST_SIZE} pixels wide; got {self.size}")
        if len(self.background) != 3 or not all(0 <= tone <= 1 for tone in self.background):
            raise InputError(f"a background is a colour of three numbers in [0, 1]; got {self.background}")

    @property
    def objects(self) -> tuple[str, ...]:
        """Ids of the objects."""
        return tuple(self.solids)

    @property
    def recipe(self) -> str:
        """Text that says everything, besides object and viewpoint, that a picture follows from."""
        return f"{VERSION}; size {self.size}; {self.background}; {self.light}; shadow {self.shadow}"

    def class_of(self, object_id: str) -> str:
        """Name of the class of an object. Raises UnknownNameError where there is no such object."""
        return self._solid(object_id).class_name

    def content_hash(self, object_id: str) -> str:
        """Hash of everything that an object is made of (hex)."""
        return self._solid(object_id).content_hash

    def render(self, object_id: str, viewpoints: Tensor) -> tuple[Tensor, Tensor]:
        """Render one object from viewpoints (n, 6).

        Returns:
            Images, float32 (n, 3, size, size) in [0, 1], and coverage by the object, float32 (n, size, size).

        Raises:
            InputError: no such object; viewpoints of another shape, not finite, or closer than 1.05.
        """
        front, coverage, light = self.layers(object_id, viewpoints)
        behind = torch.tensor(self.background)[:, None, None]
        return front + light[:, None] * behind, coverage

    def layers(self, object_id: str, viewpoints: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Object and background apart; the errors of :meth:`render`.

        Returns:
            The object times its coverage (n, 3, size, size), the coverage (n, size, size), and what the background is
            multiplied with before it is added (n, size, size).
        """
        solid, cameras = self._solid(object_id), self._cameras(viewpoints)
        parts = [self._layers(solid, part) for part in self._chunks(cameras)]
        if not parts:
            nothing = torch.zeros(0, self.size, self.size)
            return nothing.new_zeros(0, 3, self.size, self.size), nothing, nothing
        front, coverage, light = (torch.cat(values) for values in zip(*parts, strict=True))
        return front, coverage, light

    def depth(self, object_id: str, viewpoints: Tensor) -> Tensor:
        """Depth of what lies at the centre of pixels, float32 (n, size, size), infinite where there is nothing.

        Depth is the distance along the line of sight, in radii of the object. The errors are those of :meth:`render`.
        """
        solid, chunks = self._solid(object_id), self._chunks(self._cameras(viewpoints))
        found = [trace_pictures(views_of(solid, part, self.size), sample_places(1)).depths[:, 0] for part in chunks]
        return torch.cat([*found, torch.zeros(0, self.size, self.size)])

    def boxes(self, object_id: str, viewpoints: Tensor) -> Tensor:
        """Boxes x0, y0, x1, y1 about the object in pixels, float32 (n, 4), in closed form.

        Where the object reaches beyond the picture, its box is cut at the edge. The errors are those of
        :meth:`render`.
        """
        ends = extents(hulls_of(self._solid(object_id)), self._cameras(viewpoints), self.size)
        whole = torch.cat([ends[..., :2].amin(1), ends[..., 2:].amax(1)], 1)
        return whole.clamp(0, self.size).float()

    def _layers(self, solid: Solid, cameras: Cameras) -> tuple[Tensor, Tensor, Tensor]:
        views = views_of(solid, cameras, self.size)
        hits = trace_pictures(views, sample_places(_SAMPLES))
        coverage = (hits.parts[:, 0] != NOTHING).float()
        front = torch.zeros(len(cameras), self.size, self.size, 3)
        edges = _edges(hits.parts)
        for number in range(len(solid.parts)):
            view, row, column = ((hits.parts[:, 0] == number) & ~edges).nonzero(as_tuple=True)
            x, y = _through(sample_places(_SAMPLES), row, column)
            level = light_on(views, self.light, number, view, x, y, hits.depths[view, :, row, column].T)
            front[view, row, column] = _mean(lit(solid.parts[number].colour, level)).T
        view, row, column = edges.nonzero(as_tuple=True)
        colours, covered = self._edge(views, view, row, column)
        front[view, row, column] = colours.T
        coverage[view, row, column] = covered
        light = 1 - coverage
        if self.shadow:
            light = light * ground_light(shadow_of(solid, self.light.towards), cameras, self.size)
        return front.permute(0, 3, 1, 2).contiguous(), coverage, light

    def _edge(self, views: Views, view: Tensor, row: Tensor, column: Tensor) -> tuple[Tensor, Tensor]:
        """Colours times coverage (3, m), and coverage (m,), of pixels that show more than one surface."""
        places = sample_places(_EDGE_SAMPLES)
        hits = trace_pixels(views, view, row, column, places)
        colours = torch.zeros(3, *hits.parts.shape)
        for number, part in enumerate(views.solid.parts):
            here = hits.parts == number
            pixel = here.any(0).nonzero()[:, 0]
            x, y = _through(places, row[pixel], column[pixel])
            level = light_on(views, self.light, number, view[pixel], x, y, hits.depths[:, pixel])
            colours[:, :, pixel] = torch.where(here[:, pixel], lit(part.colour, level), colours[:, :, pixel])
        return _mean(colours), _mean((hits.parts != NOTHING).float()[None])[0]

    def _chunks(self, cameras: Cameras) -> list[Cameras]:
        views = max(1, _RAYS // (_SAMPLES * self.size**2))
        starts = range(0, len(cameras), views)
        return [Cameras(cameras.axes[at : at + views], cameras.places[at : at + views]) for at in starts]

    def _cameras(self, viewpoints: Tensor) -> Cameras:
        cameras = cameras_of(viewpoints)
        near = viewpoints[:, 3] < 1.05
        if bool(near.any()):
            nearest = float(viewpoints[:, 3].min())
            raise InputError(f"a camera must stand outside the object, at a distance of 1.05 or more; got {nearest:g}")
        return cameras

    def _solid(self, object_id: str) -> Solid:
        if object_id not in self.solids:
            raise unknown_name("object", object_id, self.solids)
        return self.solids[object_id]


def _edges(parts: Tensor) -> Tensor:
    """Pixels whose samples (n, s, h, w) meet different parts, bool (n, h, w)."""
    edges = torch.zeros_like(parts[:, 0], dtype=torch.bool)
    for sample in range(1, parts.shape[1]):
        edges |= parts[:, sample] != parts[:, 0]
    return edges


def _through(places: tuple[tuple[float, float], ...], row: Tensor, column: Tensor) -> tuple[Tensor, Tensor]:
    """Where rays go through pictures, x and y (s, m), for s places on pixels (m,)."""
    on_pixel = torch.tensor(places)
    return column + on_pixel[:, :1], row + on_pixel[:, 1:]


def _mean(values: Tensor) -> Tensor:
    """Mean over samples (c, s, m), one after the other: a sum at once may depend on how many pixels there are."""
    total = values[:, 0].clone()
    for sample in range(1, values.shape[1]):
        total += values[:, sample]
    return total * (1 / values.shape[1])
