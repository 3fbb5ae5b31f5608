"""Toy traffic lights: a dark scene, three lamps one above the other, one of them lit, which is the class."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from snellen.core.randomness import derive_seed

CLASS_NAMES = ("red", "amber", "green")

#: Colours of lit lamps, in [0, 1].
_LIT = torch.tensor([[0.95, 0.15, 0.1], [0.95, 0.7, 0.1], [0.1, 0.9, 0.35]])


class TrafficLights(NamedTuple):
    """Pictures with their truth: images (n, 3, size, size) in [0, 1], labels (n,), lamps bool (n, size, size)."""

    images: Tensor
    labels: Tensor
    lamps: Tensor


def traffic_lights(count: int, *, seed: int, size: int = 32) -> TrafficLights:
    """Draw traffic lights; the n-th does not depend on how many there are.

    >>> lights = traffic_lights(4, seed=0)
    >>> lights.images.shape, 0.03 < float(lights.lamps.double().mean()) < 0.15
    (torch.Size([4, 3, 32, 32]), True)

    Args:
        count: pictures n.
        seed: of everything random.
        size: side, at least 24 pixels.
    """
    drawn = [_light(derive_seed(seed, "traffic light", number), size) for number in range(count)]
    images, labels, lamps = zip(*drawn, strict=True)
    return TrafficLights(torch.stack(images), torch.tensor(labels), torch.stack(lamps))


def _light(seed: int, size: int) -> tuple[Tensor, int, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    chance = torch.rand(8, generator=generator).tolist()
    label, radius = int(chance[0] * 3), size / 32 * (2.2 + 0.9 * chance[1])
    gap = 2 * radius + 1.5
    x = radius + 2 + chance[2] * (size - 2 * radius - 5)
    y = radius + 2 + chance[3] * (size - 2 * gap - 2 * radius - 5)
    rows, columns = torch.meshgrid(torch.arange(float(size)), torch.arange(float(size)), indexing="ij")
    night = torch.tensor([0.03, 0.04, 0.08]) * (1 + 2 * chance[4])
    picture = night.view(3, 1, 1) + 0.03 * torch.rand(3, size, size, generator=generator)
    housing = ((columns - x).abs() < radius + 1.5) & (rows > y - radius - 1.5) & (rows < y + 2 * gap + radius + 1.5)
    picture = torch.where(housing, 0.12 + 0.02 * torch.rand(3, size, size, generator=generator), picture)
    lamps = torch.zeros(size, size, dtype=torch.bool)
    for place in range(3):
        distance = ((columns - x) ** 2 + (rows - y - place * gap) ** 2).sqrt()
        lamps |= distance < radius
        # Soft edges, one pixel wide; a lamp that is off keeps a trace of its colour.
        inside = (radius + 0.5 - distance).clamp(0, 1)
        colour = _LIT[place].view(3, 1, 1) * (1.0 if place == label else 0.22)
        picture = picture * (1 - inside) + colour * inside
    return picture.clamp(0, 1), label, lamps
