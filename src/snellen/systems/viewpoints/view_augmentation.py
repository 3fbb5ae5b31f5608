"""Training on views from cameras that are drawn at random: what an attack on the camera is compared with."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from snellen.core.progress import Progress
from snellen.core.randomness import Randomness
from snellen.data.worlds.solids.solid_set import RANGES, ViewpointRange
from snellen.systems.viewpoints.pool import LabelledObjects
from snellen.systems.viewpoints.search import Score
from snellen.systems.viewpoints.view_training import ViewTraining
from snellen.systems.viewpoints.views import Look


class ViewAugmentation(ViewTraining):
    """Train on views and, in every batch, on views of the same objects from random cameras."""

    name: ClassVar[str] = "view_augmentation"

    viewpoints: ViewpointRange = Field("any", description="where cameras of added views stand: any, or natural")

    def supply(self, objects: LabelledObjects) -> nn.Module:
        """Cameras uniform in the range."""
        return RandomViews(objects, self.viewpoints)


class RandomViews(nn.Module):
    """Objects and viewpoints at random: a supply that follows nothing.

    Args:
        objects: of the training.
        within: range of the viewpoints.
    """

    def __init__(self, objects: LabelledObjects, within: ViewpointRange) -> None:
        super().__init__()
        self.objects, self.within = objects, within

    def follow(
        self, epoch: int, look: Callable[[str], Look], score: Score, rng: Randomness, progress: Progress | None = None
    ) -> None:
        """Nothing to get ready."""

    def draw(self, rng: Randomness) -> tuple[Tensor, Tensor]:
        """An object and a viewpoint for each of the m examples of ``rng``: int64 (m,), float64 (m, 6)."""
        low, high = (torch.tensor(ends, dtype=torch.float64) for ends in RANGES[self.within])
        return self.objects.draw(rng, "object"), low + (high - low) * rng.uniform("viewpoint", (len(low),)).double()
