"""Scenes under noise, which the embedded text–image model has never seen: what is to be classified without labels.

``bundled:scene-clip`` was fitted to scenes that are clear, in fog or blurred. Under the noise of a sensor, which occurs
in nothing that it was fitted to, it still recognises about two thirds of the shapes by their names.
"""

from __future__ import annotations

import torch

from snellen.core.randomness import derive_seed
from snellen.data.worlds.optotypes.captions import caption
from snellen.data.worlds.optotypes.described import Described, DescribedObject
from snellen.data.worlds.optotypes.factors import Shape
from snellen.data.worlds.optotypes.scenes import Scenes
from snellen.data.worlds.optotypes.small_world import BACKGROUNDS, COLOURS, SHAPES, TEXTURES, WORLD

#: Every scene has the noise of a sensor, which the model was not fitted to, of low to high strength (of 5).
SHIFT = {"nuisances": ("noise",), "nuisance_share": 1.0, "strengths": (1.0, 4.0)}

#: Sentences of each class, as many as the published files have.
SENTENCES = 25


def noisy_scenes(count: int, seed: int) -> Scenes:
    """Scenes of one object under noise; the shape is the class."""
    return WORLD.model_copy(update={**SHIFT, "count": count, "seed": seed})


def shape_sentences(shape: Shape, seed: int, count: int = SENTENCES) -> tuple[str, ...]:
    """Sentences that a describer of the class would say: other words for the shape, with attributes that it may have.

    Captions do not mention noise.

    >>> len(shape_sentences("star", 0, 3))
    3
    """
    generator = torch.Generator().manual_seed(derive_seed(seed, "sentences", shape) % 2**63)

    def one(values: tuple[str, ...]) -> str:
        return values[int(torch.randint(len(values), (), generator=generator))]

    found = []
    for number in range(count):
        thing = DescribedObject.model_validate(
            {"shape": shape, "colour": one(COLOURS), "texture": one(TEXTURES), "size": one(("medium", "large"))}
        )
        said = Described.model_validate({"objects": (thing,), "background": one(BACKGROUNDS)})
        found.append(caption(said, seed=derive_seed(seed, "sentence", shape, number) % 2**31))
    return tuple(found)


def all_sentences(seed: int) -> dict[str, tuple[str, ...]]:
    """Of all shapes, in the order of the classes."""
    return {shape: shape_sentences(shape, seed) for shape in SHAPES}
