"""Text of other sizes, colours and places: a describer is to learn what letters are, not where they mostly stand."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from snellen.data.worlds.optotypes.factors import COLOURS
from snellen.data.worlds.optotypes.lettering import GAP, HEIGHT, WIDTH
from snellen.data.worlds.optotypes.scene import Scene

#: Heights of letters, in half sides of the image, and the share of white ones and of texts at an edge.
_HEIGHTS, _WHITE, _AT_AN_EDGE = (0.18, 0.5), 0.5, 0.5


def varied_letters(scenes: Sequence[Scene], rng: np.random.Generator) -> tuple[Scene, ...]:
    """The same scenes; where there is text, as much of it as fits, at another place, height and colour."""
    return tuple(scene if scene.lettering is None else _varied(scene, rng) for scene in scenes)


def _varied(scene: Scene, rng: np.random.Generator) -> Scene:
    assert scene.lettering is not None
    height = float(rng.uniform(*_HEIGHTS))
    dot = height / HEIGHT
    fitting = max(1, int((2 / dot + GAP) // (WIDTH + GAP)))
    text = scene.lettering.text[:fitting]
    free_x = max(0.0, 1 - dot * ((WIDTH + GAP) * len(text) - GAP) / 2)
    free_y = 1 - height / 2
    y = float(rng.choice([-1.0, 1.0]) if rng.random() < _AT_AN_EDGE else rng.uniform(-1, 1)) * free_y
    changed = scene.lettering.model_copy(
        update={
            "text": text,
            "height": height,
            "x": float(rng.uniform(-free_x, free_x)),
            "y": y,
            "colour": "white" if rng.random() < _WHITE else str(rng.choice(COLOURS)),
        }
    )
    return scene.model_copy(update={"lettering": changed})
