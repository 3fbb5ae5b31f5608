"""Objects whose only property is how bright they are from each side: a renderer without any geometry."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from snellen.core.classifier import Classifier
from snellen.core.errors import RejectedImageError
from snellen.core.images import ImageSet
from snellen.core.preprocessing import Preprocessing
from snellen.core.randomness import derive_seed
from snellen.data.worlds.solids.solid_set import draw_viewpoints
from snellen.data.worlds.view_set import view_set

SIDE = 8


class GlowingObjects:
    """Objects of class ``light`` are bright from the front and dark from behind, those of class ``dark`` always dark.

    ``blank-…`` are never in sight, ``damaged-…`` cannot be read.
    """

    def __init__(self, objects: tuple[str, ...]) -> None:
        self.objects, self.size, self.calls = objects, SIDE, list[tuple[str, int]]()

    recipe = "GlowingObjects 1"

    def class_of(self, object_id: str) -> str:
        return "dark" if "dark" in object_id else "light"

    def content_hash(self, object_id: str) -> str:
        return object_id

    def render(self, object_id: str, viewpoints: Tensor) -> tuple[Tensor, Tensor]:
        self.calls.append((object_id, len(viewpoints)))
        if "damaged" in object_id:
            raise RejectedImageError(f"{object_id}: its file is damaged")
        glow = torch.cos(viewpoints[:, 1].double() * torch.pi / 180) if self.class_of(object_id) == "light" else -1.0
        level = (0.5 + 0.4 * glow * torch.ones(len(viewpoints), dtype=torch.float64)).float()
        images = torch.ones(len(viewpoints), 3, SIDE, SIDE)
        coverage = torch.zeros(len(viewpoints), SIDE, SIDE)
        if "blank" not in object_id:
            images[:, :, 1:7, 1:7] = level[:, None, None, None]
            coverage[:, 1:7, 1:7] = 1.0
        return images, coverage


def is_light(viewpoints: Tensor) -> Tensor:
    """Whether a light object is bright from there, bool (n,)."""
    return torch.cos(viewpoints[:, 1].double() * torch.pi / 180) > 0


class Reader(nn.Module):
    """Takes what is bright in the middle for light."""

    def forward(self, images: Tensor) -> Tensor:
        light = 20 * (images[:, :, 2:6, 2:6].mean((1, 2, 3)) - 0.5)
        return torch.stack([-light, light], 1)


def reader() -> Classifier:
    return Classifier(
        Reader(), class_names=["dark", "light"], preparation=Preprocessing(size=(SIDE, SIDE)), name="reader"
    )


def glowing_set(objects: tuple[str, ...], views: int = 6) -> ImageSet:
    """Views from the front, as the set ``glowing``."""
    renderer = GlowingObjects(objects)
    viewpoints = {
        name: draw_viewpoints([derive_seed(name, number) for number in range(views)], "natural") for name in objects
    }
    return view_set(renderer, viewpoints, class_names=("dark", "light"), name="glowing")
