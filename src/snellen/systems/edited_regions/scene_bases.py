"""Base images without any download: photographed scenes, and for a share of them what a generator made of them."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from snellen.core.errors import InputError
from snellen.core.images import Split
from snellen.core.preprocessing import to_unit
from snellen.core.randomness import Randomness
from snellen.data.worlds.optotypes.rendering import render
from snellen.data.worlds.optotypes.scene import Scene
from snellen.data.worlds.optotypes.scenes import Scenes
from snellen.systems.edited_regions.camera import photographed
from snellen.systems.edited_regions.making import Base
from snellen.systems.edited_regions.scene_program import ScenePlanner
from snellen.systems.edited_regions.small_editors import EditorNetwork, written_bytes

#: One or two objects that leave room for another.
WORLD = Scenes(objects=(1, 2), sizes=("tiny", "small"), captions=False)


def drawn_scenes(count: int, *, seed: int, split: Split = "train") -> list[Scene]:
    """Scenes of a split, which share nothing with those of another split or seed."""
    return WORLD.model_copy(update={"count": count, "seed": seed}).scenes(split)


def photographs(scenes: list[Scene], size: int, *, seed: int) -> Tensor:
    """Scenes through a camera: bytes (n, 3, size, size)."""
    rng = Randomness(seed).child("camera").for_examples([str(at) for at in range(len(scenes))])
    return photographed(to_unit(render(scenes, size).pixels), rng).mul(255).round().to(torch.uint8)


def scene_bases(
    count: int, size: int, *, seed: int = 0, generator: EditorNetwork | None = None, generated: float = 0.0
) -> list[Base]:
    """Bases for :func:`~snellen.systems.edited_regions.making.make_edits`.

    Args:
        count: how many.
        size: side, pixels; a multiple of 4.
        seed: of scenes and noise.
        generator: writes the generated ones anew; it should be none of the editors.
        generated: share of bases that are generated, evenly spread.

    Raises:
        InputError: a share without a generator, or outside of [0, 1].
    """
    if not 0 <= generated <= 1 or (generated and generator is None):
        raise InputError(f"a share of generated bases in [0, 1] needs a generator; got {generated}")
    scenes = drawn_scenes(count, seed=seed)
    images = photographs(scenes, size, seed=seed)
    made = [int((at + 1) * generated) > int(at * generated) for at in range(count)]
    if any(made) and generator is not None:
        images[torch.tensor(made)] = written_bytes(generator, images[torch.tensor(made)])
    return [
        Base(f"scene {at:05d}", images[at], "generated" if made[at] else "real", partial(ScenePlanner, scene, size))
        for at, scene in enumerate(scenes)
    ]
