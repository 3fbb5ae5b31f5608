"""Scenes with every factor that can be said, and descriptions of them."""

import random

from snellen.data.worlds.optotypes.described import described
from snellen.data.worlds.optotypes.factors import BACKGROUNDS, COLOURS, NUISANCES, SHAPES, STYLES, TEXTURES
from snellen.data.worlds.optotypes.scene import Lettering, Light, Nuisances, Scene, SceneObject


def caption_scene(draw):
    objects = tuple(
        SceneObject(
            shape=draw.choice(SHAPES),
            colour=draw.choice(COLOURS),
            texture=draw.choice(TEXTURES),
            radius=draw.uniform(0.2, 0.8),
            x=draw.uniform(-0.7, 0.7),
            y=draw.uniform(-0.7, 0.7),
            rotation=draw.uniform(-0.5, 0.5),
        )
        for _ in range(draw.randrange(5))
    )
    letters = "".join(draw.choice("AHNOSTX0127") for _ in range(draw.randrange(1, 6)))
    return Scene(
        objects=objects,
        background=draw.choice(BACKGROUNDS),
        style=draw.choice(STYLES),
        light=Light(level=draw.choice([0.55, 0.95])),
        nuisances=Nuisances(**{name: draw.choice([0, 0, 0, 0.2, 1, 2, 4]) for name in NUISANCES}),
        lettering=draw.choice([None, Lettering(text=letters, y=0.8), Lettering(text=letters, opacity=0.2)]),
    )


def descriptions(count, seed=0):
    draw = random.Random(seed)
    return [described(caption_scene(draw)) for _ in range(count)]
