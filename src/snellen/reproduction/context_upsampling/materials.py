"""Scenes with the exact class of each pixel."""

from __future__ import annotations

import torch
from torch import Tensor

from snellen.core.images import Split
from snellen.data.worlds.optotypes.factors import Shape
from snellen.data.worlds.optotypes.rendering import render, visible
from snellen.data.worlds.optotypes.scenes import Scenes

#: Classes 1 to 4; class 0 is the background.
SHAPES: tuple[Shape, ...] = ("square", "triangle", "ring", "cross")
CLASSES: tuple[str, ...] = ("background", *SHAPES)


def segmented_scenes(split: Split, count: int, *, size: int, seed: int) -> tuple[Tensor, Tensor]:
    """Pictures of a shape on textured grounds, uint8 (n, 3, h, w), and classes of pixels, int64 (n, h, w).

    A pixel belongs to the object that covers at least half of it, or else to the background.
    """
    world = Scenes(
        size=size,
        count=count,
        seed=seed,
        shapes=SHAPES,
        sizes=("medium", "large"),
        backgrounds=("grey", "grass", "sand", "brick", "water"),
        captions=False,
    )
    scenes = world.scenes(split)
    pixels, maps = [], []
    for start in range(0, len(scenes), 64):
        part = scenes[start : start + 64]
        pixels.append(render(part, size).pixels.clone())
        coverage = visible(part, size).clone()
        most, which = coverage.max(1)
        numbers = torch.zeros(len(part), coverage.shape[1], dtype=torch.int64)
        for row, scene in enumerate(part):
            for place, one in enumerate(scene.objects):
                numbers[row, place] = CLASSES.index(one.shape)
        chosen = numbers.gather(1, which.flatten(1)).view_as(which)
        maps.append(torch.where(most >= 0.5, chosen, 0))
    return torch.cat(pixels), torch.cat(maps)
