"""The records of several scenes as tensors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor

from snellen.data.worlds.optotypes.factors import COLOUR_VALUES, NUISANCES, Shape, Texture
from snellen.data.worlds.optotypes.scene import Scene
from snellen.data.worlds.stable_arithmetic import cosine, sine

Name = TypeVar("Name", bound=str)


@dataclass(frozen=True, eq=False)
class Layer:
    """The objects that are the k-th of their scenes.

    Attributes:
        scenes: positions of their scenes in the batch, int64 (m,).
        seeds: of their scenes, int64 (m,).
        places: x, y, radius, cosine and sine of the rotation, float32 (m, 5).
        colours: float32 (m, 3) in [0, 1].
        instances: int64 (m,).
        shapes: shape → positions of its objects in this layer.
        textures: texture → positions of its objects in this layer.
        stroke: how unsteadily outlines are drawn, float32 (m,).
    """

    scenes: Tensor
    seeds: Tensor
    places: Tensor
    colours: Tensor
    instances: Tensor
    shapes: dict[Shape, Tensor]
    textures: dict[Texture, Tensor]
    stroke: Tensor


@dataclass(frozen=True, eq=False)
class SceneTensors:
    """A batch of scenes.

    Attributes:
        scenes: the records.
        seeds: int64 (n,).
        light: level, warmth, direction and unevenness, float32 (n, 4).
        nuisances: strength of each, float32 (n, number of nuisances).
        layers: objects, the lowest first.
    """

    scenes: Sequence[Scene]
    seeds: Tensor
    light: Tensor
    nuisances: Tensor
    layers: tuple[Layer, ...]


def scene_tensors(scenes: Sequence[Scene]) -> SceneTensors:
    """Collect what the renderer computes with."""
    lights = [scene.light for scene in scenes]
    strengths = torch.tensor([[scene.nuisances.strength(name) for name in NUISANCES] for scene in scenes])
    seeds = torch.tensor([scene.seed for scene in scenes], dtype=torch.int64)
    most = max((len(scene.objects) for scene in scenes), default=0)
    return SceneTensors(
        scenes=scenes,
        seeds=seeds,
        light=torch.tensor([[one.level, one.warmth, one.direction, one.unevenness] for one in lights]),
        nuisances=strengths,
        layers=tuple(_layer(scenes, seeds, strengths[:, NUISANCES.index("stroke")], number) for number in range(most)),
    )


def _layer(scenes: Sequence[Scene], seeds: Tensor, stroke: Tensor, number: int) -> Layer:
    chosen = [position for position, scene in enumerate(scenes) if len(scene.objects) > number]
    objects = [scenes[position].objects[number] for position in chosen]
    rotations = torch.tensor([one.rotation for one in objects])
    rows = torch.tensor(chosen)
    places = torch.tensor([[one.x, one.y, one.radius] for one in objects])
    return Layer(
        scenes=rows,
        seeds=seeds[rows] + number * 7919,  # two objects of one scene must not deviate alike
        places=torch.cat([places, cosine(rotations)[:, None], sine(rotations)[:, None]], 1),
        colours=torch.tensor([COLOUR_VALUES[one.colour] for one in objects]),
        instances=torch.tensor([one.instance for one in objects]),
        shapes=_positions([one.shape for one in objects]),
        textures=_positions([one.texture for one in objects]),
        stroke=stroke[rows],
    )


def _positions(names: Sequence[Name]) -> dict[Name, Tensor]:
    """Positions of each name that occurs."""
    found: dict[Name, list[int]] = {}
    for position, name in enumerate(names):
        found.setdefault(name, []).append(position)
    return {name: torch.tensor(found[name]) for name in sorted(found)}
