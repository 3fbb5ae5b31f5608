"""Videos of an object in three dimensions that turns: every frame an image, its object the unit, with a caption."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar, Literal

import numpy as np
import pyarrow as pa
import torch
from pydantic import Field, model_validator
from torch import Tensor

from snellen.core.images import COLUMNS, ImageSet, Split
from snellen.core.method import Method
from snellen.core.randomness import derive_seed
from snellen.data.worlds.solids.assemblies import SOLID_CLASSES, SolidClass
from snellen.data.worlds.solids.rendering import LARGEST_SIZE, LEAST_SIZE
from snellen.data.worlds.solids.solid_set import Ground, Grounds, Solids, draw_viewpoints
from snellen.data.worlds.view_set import view_set
from snellen.data.worlds.viewpoints import COORDINATES

Turn = Literal["left", "right"]
TurningSpeed = Literal["slowly", "fast"]

#: Part of the provenance of every image.
VERSION = "turning-solids-1"

#: What the camera's azimuth does where the side that faces it moves to the left, or to the right.
SIGNS: dict[Turn, int] = {"left": 1, "right": -1}

#: Degrees a frame.
TURNS: dict[TurningSpeed, float] = {"slowly": 6.0, "fast": 18.0}

AZIMUTH = COORDINATES.index("azimuth")


class TurningSolids(Method):
    """An object that turns evenly before the camera: each frame is an image, and the object is the unit.

    >>> TurningSolids(classes=("mug", "car"), objects=2, frames=3).images(split="train")
    ImageSet('turning solids', 12 images, 2 classes, split=train)
    """

    name: ClassVar[str] = "turning_solids"

    classes: tuple[SolidClass, ...] = Field(SOLID_CLASSES, min_length=1, description="classes that occur")
    objects: int = Field(10, ge=1, le=10_000, description="objects of each class in each split, one video of each")
    frames: int = Field(8, ge=1, le=1000, description="of each video")
    size: int = Field(32, ge=LEAST_SIZE, le=LARGEST_SIZE, description="side of the images, pixels")
    directions: tuple[Turn, ...] = Field(
        tuple(SIGNS), min_length=1, description="where the side that faces the camera moves"
    )
    speeds: tuple[TurningSpeed, ...] = Field(tuple(TURNS), min_length=1, description="speeds that occur")
    backgrounds: tuple[Ground, ...] = Field(
        ("white",), min_length=1, description="what lies behind the object, each as likely"
    )
    shadow: bool = Field(True, description="whether objects cast a shadow on the ground")
    seed: int = Field(0, description="seed of everything random")

    @model_validator(mode="after")
    def _noted_once(self) -> TurningSolids:
        for field in ("classes", "directions", "speeds", "backgrounds"):
            values = getattr(self, field)
            if len(set(values)) < len(values):
                raise ValueError(f"{field} must differ; got {', '.join(values)}")
        return self

    def images(self, *, split: Split = "test") -> ImageSet:
        """One split, frame after frame of each object; a video does not depend on how many there are.

        Columns: label (class), unit_id (object), group (what lies behind), mask, caption, attributes (direction,
        degrees that it turns a frame, and the six numbers of each viewpoint), provenance.
        """
        solids = Solids(classes=self.classes, objects=self.objects, size=self.size, shadow=self.shadow, seed=self.seed)
        renderer = solids.renderer(split=split)
        views, known, captions, grounds, seeds = dict[str, Tensor](), {}, list[str](), list[Ground](), list[int]()
        for owner in renderer.objects:
            shares = np.random.default_rng(derive_seed(self.seed, "turning solid", owner)).random(3)
            direction = self.directions[int(shares[0] * len(self.directions))]
            speed = self.speeds[int(shares[1] * len(self.speeds))]
            ground = self.backgrounds[int(shares[2] * len(self.backgrounds))]
            start = draw_viewpoints([derive_seed(self.seed, "viewpoint", owner)], "natural")
            views[owner] = _turned(start, SIGNS[direction] * TURNS[speed], self.frames)
            known[owner] = {"direction": direction, "turn": TURNS[speed]}
            grounds += [ground] * self.frames
            seeds += [derive_seed(self.seed, "background", owner)] * self.frames
            captions += [f"a {renderer.class_of(owner)} turns {direction} {speed}"] * self.frames
        made = view_set(
            renderer,
            views,
            class_names=self.classes,
            attributes_by_object=known,
            groups=grounds,
            backdrop=Grounds(names=tuple(grounds), seeds=tuple(seeds), size=self.size),
            split=split,
            generator=f"snellen {VERSION}",
            seed=self.seed,
            name="turning solids",
        )
        return replace(made, table=made.table.append_column("caption", pa.array(captions, COLUMNS["caption"])))


def _turned(start: Tensor, degrees: float, frames: int) -> Tensor:
    """One viewpoint (1, 6) and those that follow it, float64 (frames, 6); the azimuth stays within ±180°.

    >>> _turned(torch.tensor([[0.0, 170.0, 0, 4, 0, 0]]), 20.0, 2)[:, 1].tolist()
    [170.0, -170.0]
    """
    views = start.repeat(frames, 1)
    turned = views[:, AZIMUTH] + degrees * torch.arange(frames)
    views[:, AZIMUTH] = ((turned + 180) % 360 - 180).round(decimals=4)
    return views
