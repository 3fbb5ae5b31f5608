"""Solids seen as people photograph objects, and the same and other solids seen from anywhere.

Objects are split: those that are trained on are never judged. A renderer that remembers makes the first search of two
recipes that start alike cost its renderings once.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

import torch
from torch import Tensor

from snellen.core.images import ImageSet, Split
from snellen.core.randomness import derive_seed
from snellen.data.worlds.solids.assemblies import SOLID_CLASSES
from snellen.data.worlds.solids.solid_set import Solids, ViewpointRange, draw_viewpoints
from snellen.data.worlds.view_set import view_set
from snellen.data.worlds.viewpoints import RecordedRenderer

#: Height and width of the views, pixels.
SIDE = 32

#: Calls that are remembered.
_REMEMBERED = 4_000


@dataclass(frozen=True)
class Sizes:
    """How many objects there are, and how often each is drawn.

    Args:
        classes: how many kinds of objects.
        train: objects of each class that are trained on.
        test: objects of each class that are judged.
        views: natural views of a training object.
        test_views: natural, and as many random, views of a test object.
    """

    classes: int
    train: int
    test: int
    views: int
    test_views: int


class Remembering:
    """A renderer that keeps its latest calls, as bytes; what it returns is the same whether it was there.

    Args:
        renderer: draws what is not there.
    """

    def __init__(self, renderer: RecordedRenderer) -> None:
        self.renderer = renderer
        self._kept: OrderedDict[tuple[str, bytes], tuple[Tensor, Tensor]] = OrderedDict()

    @property
    def objects(self) -> tuple[str, ...]:
        """Ids of the objects."""
        return self.renderer.objects

    @property
    def size(self) -> int:
        """Height and width of the images, pixels."""
        return self.renderer.size

    @property
    def recipe(self) -> str:
        """The renderer's recipe, and that it is given in bytes."""
        return f"{self.renderer.recipe}; in bytes"

    def class_of(self, object_id: str) -> str:
        """Name of the class of an object."""
        return self.renderer.class_of(object_id)

    def content_hash(self, object_id: str) -> str:
        """Hash of everything that an object was made from (hex)."""
        return self.renderer.content_hash(object_id)

    def render(self, object_id: str, viewpoints: Tensor) -> tuple[Tensor, Tensor]:
        """Render one object from viewpoints (n, 6)."""
        key = (object_id, viewpoints.double().numpy().tobytes())
        if key not in self._kept:
            images, coverage = (part.mul(255).round().byte() for part in self.renderer.render(object_id, viewpoints))
            self._kept[key] = images, coverage
            while len(self._kept) > _REMEMBERED:
                self._kept.popitem(last=False)
        images, coverage = self._kept[key]
        return images.float() / 255, coverage.float() / 255


def renderer_of(split: Split, sizes: Sizes, seed: int) -> Remembering:
    """Objects of a split, before white."""
    return Remembering(solids_of(split, sizes, seed).renderer(split=split))


def solids_of(split: Split, sizes: Sizes, seed: int) -> Solids:
    """The world of a split."""
    objects = sizes.test if split == "test" else sizes.train
    return Solids(classes=SOLID_CLASSES[: sizes.classes], objects=objects, size=SIDE, shadow=False, seed=seed)


def views_of(renderer: Remembering, split: Split, within: ViewpointRange, count: int, seed: int) -> ImageSet:
    """Views of all objects from cameras of a range."""
    viewpoints = {
        name: draw_viewpoints([derive_seed(seed, within, name, number) for number in range(count)], within)
        for name in renderer.objects
    }
    return view_set(renderer, viewpoints, class_names=None, split=split, seed=seed, name=f"{within} views")


def all_images(images: ImageSet) -> tuple[Tensor, Tensor]:
    """Prepared images float32 (n, 3, h, w) in [0, 1], and labels (n,)."""
    import numpy as np

    pixels = np.stack([np.asarray(images.read(row)) for row in range(len(images))])
    return torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255, torch.from_numpy(images.labels)
