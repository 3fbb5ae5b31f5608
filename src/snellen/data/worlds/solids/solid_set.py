"""A set of views of objects in three dimensions, described by its parameters."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator
from torch import Tensor

from snellen.core.images import ImageSet, Split
from snellen.core.method import Method
from snellen.core.randomness import derive_seed
from snellen.data.worlds.solids.assemblies import SOLID_CLASSES, SolidClass, draw_solid
from snellen.data.worlds.solids.grounds import Ground, Grounds
from snellen.data.worlds.solids.rendering import LARGEST_SIZE, LEAST_SIZE, VERSION, SolidRenderer
from snellen.data.worlds.solids.viewpoint_ranges import ViewpointRange, draw_viewpoints
from snellen.data.worlds.view_set import view_set


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
    def _told_once(self) -> Solids:
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
