"""The small world that the embedded models are good at, and its combinations of factors that none was fitted to.

One world for all of them, so that they can work on each other's images: one object, six shapes that differ clearly,
medium and large, upright; six colours, three textures, four backgrounds; at times fog or blur. A sixth of all
combinations of shape, colour, texture and background is never drawn for fitting.
"""

from __future__ import annotations

import hashlib
from itertools import islice

from snellen.core.images import Split
from snellen.data.worlds.optotypes.factors import Background, Colour, Shape, Texture
from snellen.data.worlds.optotypes.scene import Scene
from snellen.data.worlds.optotypes.scenes import Scenes

SHAPES: tuple[Shape, ...] = ("square", "triangle", "star", "cross", "ring", "heart")
COLOURS: tuple[Colour, ...] = ("red", "yellow", "green", "blue", "purple", "white")
TEXTURES: tuple[Texture, ...] = ("plain", "striped", "dotted")
BACKGROUNDS: tuple[Background, ...] = ("grey", "grass", "sand", "brick")

#: Pixels along each side.
SIZE = 32

#: Objects that stand alone.
WORLD = Scenes(
    size=SIZE,
    shapes=SHAPES,
    colours=COLOURS,
    textures=TEXTURES,
    sizes=("medium", "large"),
    tilts=("upright",),
    backgrounds=BACKGROUNDS,
    nuisances=("fog", "blur"),
    nuisance_share=0.2,
    strengths=(1.0, 3.5),
    captions=False,
)

#: One of so many combinations is held out.
_HELD_OUT = 6


def held_out(scene: Scene) -> bool:
    """Whether the combination of shape, colour, texture and background of any object is kept from fitting."""
    return any(
        hashlib.sha256(f"{one.shape} {one.colour} {one.texture} {scene.background}".encode()).digest()[0] % _HELD_OUT
        == 0
        for one in scene.objects
    )


def scenes(world: Scenes, split: Split, *, count: int, seen: bool) -> list[Scene]:
    """The first ``count`` scenes of a split whose combinations were (``seen``) or were not drawn for fitting."""
    share = 1 - 1 / _HELD_OUT if seen else 1 / _HELD_OUT
    many = int(count / share * 1.3) + 200
    drawn = world.model_copy(update={"count": many}).each_scene(split)
    found = list(islice((scene for scene in drawn if held_out(scene) is not seen), count))
    if len(found) < count:
        raise AssertionError(f"only {len(found)} of {count} scenes among {many}")
    return found
