"""The small world that the embedded models are good at, its held-out combinations of factors, and its captions.

One world for all of them, so that they can work on each other's images: one object, six shapes that differ clearly,
medium and large, upright; six colours, three textures, four backgrounds; at times fog or blur. A sixth of all
combinations of shape, colour, texture and background is never drawn for fitting.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from snellen.data.optotypes.captions import caption
from snellen.data.optotypes.described import described
from snellen.data.optotypes.factors import Background, Colour, Shape, Texture
from snellen.data.optotypes.scene import Scene
from snellen.data.optotypes.scenes import Scenes
from snellen.data.optotypes.selection import Factor
from snellen.images import Split
from snellen.randomness import Randomness

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

#: Two small objects, for relations.
PAIRS = WORLD.model_copy(update={"objects": (2, 2), "sizes": ("small",), "nuisance_share": 0.0})

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
    found = [scene for scene in world.model_copy(update={"count": many}).scenes(split) if held_out(scene) is not seen]
    if len(found) < count:
        raise AssertionError(f"only {len(found)} of {count} scenes among {many}")
    return found[:count]


#: How often each factor is left out of a caption, and so is not asked for.
LEFT_OUT: Mapping[Factor, float] = {
    "shape": 0.05,
    "colour": 0.15,
    "texture": 0.15,
    "size": 0.4,
    "place": 0.5,
    "background": 0.15,
    "nuisances": 0.05,
    "relations": 0.05,
}


def short_captions(drawn: list[Scene], *, seed: int, left_out: Mapping[Factor, float] = LEFT_OUT) -> list[str]:
    """One caption for each scene, in words for fitting, each telling a random part of the factors."""
    draws = Randomness(seed).for_examples([str(scene.seed) for scene in drawn]).uniform("left out", (len(left_out),))
    told = [
        [factor for (factor, share), draw in zip(left_out.items(), row, strict=True) if draw >= share]
        for row in draws.tolist()
    ]
    words = zip(drawn, told, strict=True)
    return [caption(described(scene), seed=scene.seed + seed, detail=factors or ["shape"]) for scene, factors in words]
