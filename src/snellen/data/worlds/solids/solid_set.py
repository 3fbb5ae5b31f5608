"""A set of views of objects in three dimensions, described by its parameters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field, model_validator
from torch import Tensor

from snellen.core.images import ImageSet, Split
from snellen.core.method import Method
from snellen.core.randomness import derive_seed
from snellen.data.worlds.optotypes.lattice_noise import uniform
from snellen.data.worlds.optotypes.rendering import background
from snellen.data.worlds.solids.assemblies import SOLID_CLASSES, SolidClass, draw_solid
from snellen.data.worlds.solids.rendering import LARGEST_SIZE, LEAST_SIZE, VERSION, SolidRenderer
from snellen.data.worlds.view_set import view_set
from snellen.data.worlds.viewpoints import CENTRES, HALF_RANGES

Ground = Literal["white", "plain", "grey", "grass", "sand", "brick", "water", "night"]

GROUNDS: tuple[Ground, ...] = get_args(Ground)


@dataclass(frozen=True, kw_only=True)
class Grounds:
    """A ground for each row of a set (a :class:`~snellen.data.worlds.view_set.Backdrop`).

    >>> Grounds(names=("white", "sand"), seeds=(1, 2), size=16).pictures([0]).shape
    torch.Size([1, 3, 16, 16])

    Attributes:
        names: of each row.
        seeds: of each row, at least 0: distinguishes two grounds of one name.
        size: height and width, pixels.
    """

    names: tuple[Ground, ...]
    seeds: tuple[int, ...]
    size: int

    def pictures(self, rows: Sequence[int]) -> Tensor:
        """Pictures of some rows, float32 (m, 3, h, w) in [0, 1]."""
        place = (torch.arange(self.size) + 0.5) * (2 / self.size) - 1
        across, down = place[None, None].expand(1, self.size, -1), place[None, :, None].expand(1, -1, self.size)
        seeds = torch.tensor([self.seeds[row] for row in rows], dtype=torch.int64)
        names = [self.names[row] for row in rows]
        found = torch.ones(len(names), 3, self.size, self.size)
        for name in sorted(set(names)):
            index = torch.tensor([position for position, other in enumerate(names) if other == name])
            if name == "plain":
                # Light colours: the object is not lost before them, and neither is its shadow.
                found[index] = (uniform(seeds[index], "plain ground", 3) * 0.5 + 0.5)[:, :, None, None]
            elif name != "white":
                found[index] = background(name, seeds[index], across, down)
        return found

    def recipe(self, row: int) -> str:
        """Text that says everything the picture of a row follows from."""
        return f"{self.names[row]} {self.seeds[row]}"


ViewpointRange = Literal["natural", "any"]

#: Least and largest roll, azimuth, elevation, distance and shifts. "natural" is how people take pictures of objects:
#: upright, from the front or half from the side, a little from above, in the middle of the picture. "any" is the whole
#: range of :data:`~snellen.data.worlds.viewpoints.HALF_RANGES`.
RANGES: dict[ViewpointRange, tuple[tuple[float, ...], tuple[float, ...]]] = {
    "natural": ((-5.0, -50.0, 8.0, 3.4, -0.12, -0.12), (5.0, 50.0, 35.0, 4.4, 0.12, 0.12)),
    "any": (
        tuple(centre - half for centre, half in zip(CENTRES, HALF_RANGES, strict=True)),
        tuple(centre + half for centre, half in zip(CENTRES, HALF_RANGES, strict=True)),
    ),
}


def draw_viewpoints(seeds: Sequence[int], within: ViewpointRange) -> Tensor:
    """One viewpoint for each seed, uniform in the range: float64 (n, 6), rounded to 0.0001.

    >>> draw_viewpoints([1, 2], "natural").shape
    torch.Size([2, 6])
    """
    low, high = (np.asarray(ends) for ends in RANGES[within])
    shares = np.array([np.random.default_rng(seed).random(len(low)) for seed in seeds]).reshape(-1, len(low))
    return torch.from_numpy((low + (high - low) * shares).round(4))


class Solids(Method):
    """Views of toy-like objects from a camera of six coordinates. Every split has objects of its own.

    >>> Solids(classes=("mug", "car"), objects=2, views=3).images(split="train")
    ImageSet('solids', 12 images, 2 classes, split=train)
    """

    name: ClassVar[str] = "solids"

    classes: tuple[SolidClass, ...] = Field(SOLID_CLASSES, min_length=1, description="classes that occur")
    objects: int = Field(10, ge=1, le=10_000, description="objects of each class in each split")
    views: int = Field(10, ge=1, le=10_000, description="views of each object")
    size: int = Field(48, ge=LEAST_SIZE, le=LARGEST_SIZE, description="side of the images, pixels")
    viewpoints: ViewpointRange = Field(
        "natural", description="natural: as in photographs, upright, half from the front; any: from all around"
    )
    backgrounds: tuple[Ground, ...] = Field(
        ("white",), min_length=1, description="what lies behind the object, each as likely"
    )
    shadow: bool = Field(True, description="whether objects cast a shadow on the ground")
    seed: int = Field(0, description="seed of everything random")

    @model_validator(mode="after")
    def _noted_once(self) -> Solids:
        for field, values in (("classes", self.classes), ("backgrounds", self.backgrounds)):
            if len(set(values)) < len(values):
                raise ValueError(f"{field} must differ; got {', '.join(values)}")
        return self

    def renderer(self, *, split: Split = "test") -> SolidRenderer:
        """A renderer of the objects of one split, before white; object n does not depend on how many there are."""
        solids = {
            f"{split}/{name}-{number:04d}": draw_solid(name, derive_seed(self.seed, "solid", split, name, number))
            for name in self.classes
            for number in range(self.objects)
        }
        return SolidRenderer(solids=solids, size=self.size, shadow=self.shadow)

    def images(self, *, split: Split = "test") -> ImageSet:
        """One split as an image set: ``unit_id`` is the object, ``group`` what lies behind it.

        Boxes are those of whole objects, cut at the edge of the picture; masks are coverage.
        """
        renderer = self.renderer(split=split)
        keys = [f"{owner}/{number}" for owner in renderer.objects for number in range(self.views)]
        viewpoints = draw_viewpoints([derive_seed(self.seed, "viewpoint", key) for key in keys], self.viewpoints)
        seeds = tuple(derive_seed(self.seed, "background", key) for key in keys)
        names = tuple(self.backgrounds[derive_seed(seed, "which") % len(self.backgrounds)] for seed in seeds)

        def boxes(object_id: str, rows: Tensor) -> NDArray[np.float32]:
            found: NDArray[np.float32] = renderer.boxes(object_id, rows).numpy()
            return found

        return view_set(
            renderer,
            dict(zip(renderer.objects, viewpoints.split(self.views), strict=True)),
            class_names=self.classes,
            attributes_by_object={
                owner: {"instance": number % self.objects} for number, owner in enumerate(renderer.objects)
            },
            groups=names,
            backdrop=Grounds(names=names, seeds=seeds, size=self.size),
            boxes=boxes,
            split=split,
            generator=f"snellen {VERSION}",
            seed=self.seed,
            name="solids",
        )
