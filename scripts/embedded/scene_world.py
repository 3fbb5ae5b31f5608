"""What the embedded models are trained on: the small world, pairs of its objects, and captions.

The world and its held-out combinations are those of :mod:`snellen.data.worlds.optotypes.small_world`.
"""

from __future__ import annotations

from collections.abc import Mapping

from snellen.core.randomness import Randomness
from snellen.data.worlds.optotypes.captions import caption
from snellen.data.worlds.optotypes.described import Factor, described
from snellen.data.worlds.optotypes.scene import Scene
from snellen.data.worlds.optotypes.small_world import BACKGROUNDS as BACKGROUNDS
from snellen.data.worlds.optotypes.small_world import COLOURS as COLOURS
from snellen.data.worlds.optotypes.small_world import SHAPES as SHAPES
from snellen.data.worlds.optotypes.small_world import SIZE as SIZE
from snellen.data.worlds.optotypes.small_world import TEXTURES as TEXTURES
from snellen.data.worlds.optotypes.small_world import WORLD as WORLD
from snellen.data.worlds.optotypes.small_world import held_out as held_out
from snellen.data.worlds.optotypes.small_world import scenes as scenes

#: Two small objects, for relations.
PAIRS = WORLD.model_copy(update={"objects": (2, 2), "sizes": ("small",), "nuisance_share": 0.0})

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
