"""Scenes with every factor, drawn without the sampler."""

import random

from snellen.data.worlds.optotypes.factors import BACKGROUNDS, COLOURS, NUISANCES, SHAPES, STYLES, TEXTURES
from snellen.data.worlds.optotypes.scene import Lettering, Light, Nuisances, Scene, SceneObject


def random_scenes(count, seed=0):
    draw = random.Random(seed)
    return [_scene(draw) for _ in range(count)]


def _scene(draw):
    objects = tuple(
        SceneObject(
            shape=draw.choice(SHAPES),
            colour=draw.choice(COLOURS),
            texture=draw.choice(TEXTURES),
            radius=draw.uniform(0.2, 0.8),
            x=draw.uniform(-0.6, 0.6),
            y=draw.uniform(-0.6, 0.6),
            rotation=draw.uniform(-3, 3),
            instance=draw.randrange(5),
        )
        for _ in range(draw.randrange(4))
    )
    return Scene(
        objects=objects,
        background=draw.choice(BACKGROUNDS),
        style=draw.choice(STYLES),
        light=Light(
            level=draw.uniform(0.5, 1),
            warmth=draw.uniform(-1, 1),
            direction=draw.uniform(-3, 3),
            unevenness=draw.random(),
        ),
        nuisances=Nuisances(**{name: draw.choice([0.0, draw.uniform(0.01, 5)]) for name in NUISANCES}),
        lettering=Lettering(text="X7", y=draw.uniform(-1, 1)) if draw.random() < 0.5 else None,
        seed=draw.randrange(2**63),
    )
