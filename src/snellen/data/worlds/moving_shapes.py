"""Videos of a shape that moves: every frame an image, its video the unit, with a caption and the true motion.

The picture is a torus: what leaves on one side comes in on the other. So the place of a shape says nothing about where
it goes, and only a caption does.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cached_property
from typing import ClassVar, Literal, TypeVar

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from pydantic import Field, model_validator
from torch import Tensor

from snellen.core.images import COLUMNS, ImageSet, Provenance, Split
from snellen.core.method import Method
from snellen.core.randomness import derive_seed
from snellen.data.worlds.optotypes.factors import Shape
from snellen.data.worlds.optotypes.objects import DISTANCES
from snellen.data.worlds.rendered_source import RenderedSource

T = TypeVar("T")

Direction = Literal["left", "right", "up", "down"]
Speed = Literal["slowly", "fast"]
Ground = Literal["black", "grey", "stripes"]
MovingColour = Literal["red", "green", "blue", "yellow"]

#: Part of the recipe of every image.
VERSION = "moving-shapes-1"

#: Steps right and down.
STEPS: dict[Direction, tuple[int, int]] = {"left": (-1, 0), "right": (1, 0), "up": (0, -1), "down": (0, 1)}

#: Shares of the side in a frame.
SPEEDS: dict[Speed, float] = {"slowly": 1 / 24, "fast": 1 / 8}

#: Red, green and blue of shapes; grounds are grey, so that colour is where the shape is.
COLOURS: dict[MovingColour, tuple[float, float, float]] = {
    "red": (0.9, 0.15, 0.15),
    "green": (0.15, 0.8, 0.2),
    "blue": (0.2, 0.3, 0.95),
    "yellow": (0.95, 0.85, 0.1),
}

#: Radius of shapes, in half sides.
RADIUS = 0.5


class MovingShapes(Method):
    """A shape that moves straight on: each frame is an image, and its video is the unit.

    >>> MovingShapes(count=2, frames=3).images(split="train")
    ImageSet('moving shapes', 6 images, 4 classes, split=train)
    """

    name: ClassVar[str] = "moving_shapes"

    count: int = Field(100, ge=1, le=1_000_000, description="videos")
    frames: int = Field(8, ge=1, le=1000, description="of each video")
    size: int = Field(16, ge=8, le=512, description="side of the images, pixels")
    shapes: tuple[Shape, ...] = Field(
        ("circle", "square", "triangle", "cross"), min_length=1, description="classes that occur"
    )
    colours: tuple[MovingColour, ...] = Field(tuple(COLOURS), min_length=1, description="colours that occur")
    directions: tuple[Direction, ...] = Field(tuple(STEPS), min_length=1, description="directions that occur")
    speeds: tuple[Speed, ...] = Field(tuple(SPEEDS), min_length=1, description="speeds that occur")
    grounds: tuple[Ground, ...] = Field(("black", "grey", "stripes"), min_length=1, description="what lies behind")
    seed: int = Field(0, description="seed of everything random")

    @model_validator(mode="after")
    def _noted_once(self) -> MovingShapes:
        for field in ("shapes", "colours", "directions", "speeds", "grounds"):
            values = getattr(self, field)
            if len(set(values)) < len(values):
                raise ValueError(f"{field} must differ; got {', '.join(values)}")
        return self

    def images(self, *, split: Split = "test") -> ImageSet:
        """One split, frame after frame of each video.

        Columns: label (shape), unit_id (video), group (ground), caption, attributes (frame, colour, direction, speed,
        and the true place ``x``, ``y`` of the centre and its step ``dx``, ``dy``, in pixels), provenance.
        """
        drawn = _Drawn(self, split)
        source = RenderedSource(
            self.count * self.frames,
            drawn.render,
            lambda row: f"{VERSION} {self.size} {drawn.attributes[row]} {drawn.captions[row // self.frames]}",
            chunk=max(1, min(256, 2**20 // self.size**2)),
        )
        return ImageSet(source, drawn.table(split), self.shapes, "moving shapes", split=split)


class _Drawn:
    """The videos of one split: a video depends on its number, and not on how many there are."""

    def __init__(self, world: MovingShapes, split: Split) -> None:
        self.world = world
        seeds = [derive_seed(world.seed, "moving shapes", split, number) for number in range(world.count)]
        draws = np.array([np.random.default_rng(seed).random(7) for seed in seeds])
        self.shapes, self.colours = _picked(world.shapes, draws[:, 0]), _picked(world.colours, draws[:, 1])
        self.directions, self.speeds = _picked(world.directions, draws[:, 2]), _picked(world.speeds, draws[:, 3])
        self.grounds = _picked(world.grounds, draws[:, 4])
        self.starts = draws[:, 5:].round(4)
        steps = [np.array(STEPS[d]) * SPEEDS[s] for d, s in zip(self.directions, self.speeds, strict=True)]
        moments = np.arange(world.frames)[None, :, None]
        #: Centres in shares of the side, (count, frames, 2).
        self.centres: NDArray[np.float64] = (self.starts[:, None] + moments * np.stack(steps)[:, None]) % 1.0
        self.steps = np.stack(steps)

    @cached_property
    def captions(self) -> list[str]:
        """One of each video."""
        parts = zip(self.colours, self.shapes, self.directions, self.speeds, self.grounds, strict=True)
        return [f"a {c} {s} moves {d} {v} on {g}" for c, s, d, v, g in parts]

    @cached_property
    def attributes(self) -> list[str]:
        """The truth of each frame, as JSON."""
        size, rows = self.world.size, []
        for video in range(self.world.count):
            step = (self.steps[video] * size).round(4).tolist()
            known = {"colour": self.colours[video], "direction": self.directions[video], "speed": self.speeds[video]}
            for frame, (x, y) in enumerate((self.centres[video] * size).round(4).tolist()):
                rows.append(json.dumps({"frame": frame, **known, "x": x, "y": y, "dx": step[0], "dy": step[1]}))
        return rows

    def render(self, rows: Sequence[int]) -> NDArray[np.uint8]:
        """Pixels of some frames, uint8 (m, h, w, 3)."""
        size, frames = self.world.size, self.world.frames
        middles = (torch.arange(size) + 0.5) / size
        pictures = []
        for row in rows:
            video, frame = divmod(row, frames)
            x, y = torch.from_numpy(self.centres[video, frame]).float()
            across, down = (((middles - place + 0.5) % 1.0 - 0.5) * 2 / RADIUS for place in (x, y))
            right, below = torch.meshgrid(across, down, indexing="xy")
            distance = DISTANCES[self.shapes[video]](right.contiguous(), below.contiguous()) * RADIUS
            cover = (0.5 - distance * size / 2).clamp(0, 1)[None]
            colour = torch.tensor(COLOURS[self.colours[video]])[:, None, None]
            pictures.append(colour * cover + _ground(self.grounds[video], size) * (1 - cover))
        return (torch.stack(pictures).permute(0, 2, 3, 1) * 255).round().to(torch.uint8).numpy()

    def table(self, split: Split) -> pa.Table:
        """What is known of each frame."""
        world = self.world
        rows = range(world.count * world.frames)
        videos = [row // world.frames for row in rows]
        made = Provenance(origin="generated", generator=f"snellen {VERSION}", seed=world.seed)
        columns: dict[str, Sequence[object]] = {
            "id": [f"{split}/{row // world.frames:06d}/{row % world.frames:03d}" for row in rows],
            "label": [world.shapes.index(self.shapes[video]) for video in videos],
            "unit_id": [f"{split}/{video:06d}" for video in videos],
            "group": [self.grounds[video] for video in videos],
            "split": [split] * len(rows),
            "caption": [self.captions[video] for video in videos],
            "attributes": self.attributes,
            "provenance": [made.model_dump_json(exclude_none=True)] * len(rows),
        }
        return pa.table({name: pa.array(values, COLUMNS[name]) for name, values in columns.items()})


def _picked(values: Sequence[T], shares: NDArray[np.float64]) -> list[T]:
    """The value that each share of [0, 1) falls on."""
    return [values[int(share * len(values))] for share in shares]


def _ground(name: Ground, size: int) -> Tensor:
    """A grey picture, float32 (1, h, w): plain, or with four dark bands that lie still."""
    if name == "stripes":
        bands = (torch.arange(size) * 8 // size % 2).float() * 0.25 + 0.2
        return bands[None, :, None].expand(1, size, size)
    return torch.full((1, size, size), 0.05 if name == "black" else 0.45)
