"""Scenes, their pictures and the truth about them; a describer that learns from some of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from snellen.core.images import ImageSet, Split
from snellen.core.preprocessing import to_unit
from snellen.core.progress import Progress
from snellen.core.randomness import Randomness, derive_seed
from snellen.data.worlds.optotypes.factors import Shape
from snellen.data.worlds.optotypes.rendering import render
from snellen.data.worlds.optotypes.scene import Scene
from snellen.data.worlds.optotypes.scene_set import scene_images
from snellen.data.worlds.optotypes.scenes import Scenes
from snellen.systems.neuron_descriptions.captioner import Regions
from snellen.systems.neuron_descriptions.describer import Describer, describer_of
from snellen.systems.neuron_descriptions.exemplars import Exemplars
from snellen.systems.neuron_descriptions.recipe import NeuronDescriber
from snellen.systems.neuron_descriptions.region_truth import FactorMaps
from snellen.systems.neuron_descriptions.regions_of_units import unit_regions
from snellen.training.fitting.frame import Fitting

#: The shapes that the embedded encoder knows; everything else varies over all its values.
SHAPES: tuple[Shape, ...] = ("square", "triangle", "star", "cross", "ring", "heart")

#: Side of all scenes, pixels.
SIDE = 32

#: Share of scenes with text over them.
_LETTERED = 0.4

#: Scenes that are drawn together.
_TOGETHER = 128


@dataclass(frozen=True, eq=False)
class World:
    """Scenes with all that is known of them.

    Attributes:
        scenes: n records.
        pixels: float32 (n, 3, 32, 32) in [0, 1].
        maps: where each value is seen.
        images: the same as an image set.
    """

    scenes: tuple[Scene, ...]
    pixels: Tensor
    maps: FactorMaps
    images: ImageSet

    @classmethod
    def of(cls, scenes: Sequence[Scene], *, name: str) -> World:
        """Draw scenes."""
        images = scene_images(scenes, size=SIDE, ids=[f"{name}/{row}" for row in range(len(scenes))], captions=False)
        return cls(tuple(scenes), pictures(scenes), FactorMaps.of_scenes(scenes, SIDE), images)

    def regions(self, found: Mapping[str, Exemplars], describer: Describer) -> Regions:
        """Regions of all units of some layers, one layer after the other."""
        parts = [unit_regions(one, describer.encoder, lambda rows: self.pixels[list(rows)]) for one in found.values()]
        return Regions(torch.cat([one.vectors for one in parts]), torch.cat([one.present for one in parts]))


def pictures(scenes: Sequence[Scene]) -> Tensor:
    """Float32 (n, 3, 32, 32) in [0, 1]."""
    parts = [render(scenes[first : first + _TOGETHER], SIDE).pixels for first in range(0, len(scenes), _TOGETHER)]
    return to_unit(torch.cat(parts))


def varied_scenes(count: int, split: Split, *, seed: int, purpose: str) -> list[Scene]:
    """Scenes with one object of any look on any ground, two of five with text over them."""
    world = Scenes(
        count=count,
        size=SIDE,
        shapes=SHAPES,
        lettering_share=_LETTERED,
        captions=False,
        seed=derive_seed(seed, purpose) % 2**31,
    )
    return world.scenes(split)


def learnt_describer(
    scenes: int, recipe: NeuronDescriber, *, seed: int, rng: Randomness, progress: Progress
) -> tuple[Describer, tuple[tuple[str, ...], ...]]:
    """A describer that is trained from the start, and the sentences that it may have learnt from."""
    drawn = varied_scenes(scenes, "train", seed=seed, purpose="describer")
    data = scene_images(drawn, size=SIDE, split="train", captions=False, name="scenes to learn from")
    units = recipe.described_units(data, rng, progress)
    artifact = recipe.fit_units(units, Fitting(data, rng, progress=progress))
    return describer_of(artifact, source="describer of this seed"), units.sentences
