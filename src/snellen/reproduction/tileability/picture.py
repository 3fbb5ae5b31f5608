"""The picture of system 21: textures laid beside themselves with the score of each, and what the metric helps to make.

It draws patterns that the metric never saw, with a seed of no record: half a minute of a core.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from snellen.core.preprocessing import Preprocessing, to_unit
from snellen.core.randomness import derive_seed
from snellen.data.worlds.textures.breaking import FAILURES
from snellen.data.worlds.textures.textures import Textures
from snellen.reproduction.shared.documents import Pictures
from snellen.reproduction.shared.tile_sheet import NEUTRAL, RIGHT, WRONG, Tile, as_bytes, tile_sheet
from snellen.reproduction.tileability.experiment import HELD_OUT, SMALL_SIZE
from snellen.systems.tileability.synthesis import seam_ratio, synthesize_texture
from snellen.systems.tileability.tileability import Tileability, load_tileability

SEED = 0

#: Textures to choose from: the first of each failure is shown.
COUNT = 48

#: Examples of what is made.
MADE = 2

#: Height and width of a tile; a texture laid two by two has 128 pixels.
SIDE = 150

#: Words for each failure.
WORDS = {
    "crop": "cut off its period",
    "rotation": "turned",
    "shear": "sheared",
    "perspective": "in perspective",
    "ramp": "light runs across it",
    "blob": "a light spot",
}


def draw(root: Path, target: Path) -> None:
    """A row of textures, whole and broken in each way, and a row of what is made of noise for two broken ones."""
    metric = load_tileability("bundled:tileability")
    textures = Textures(count=COUNT, size=SMALL_SIZE.side, held_out=HELD_OUT, seed=SEED).images(split="test")
    failures = np.array([_failure(one) for one in textures.column("attributes")])
    preparation = Preprocessing(size=(SMALL_SIZE.side, SMALL_SIZE.side))
    first = {name: to_unit(preparation.pixels(textures.read(int(np.argmax(failures == name))))) for name in WORDS}
    whole = to_unit(preparation.pixels(textures.read(int(np.argmax(failures == "")))))
    judged = [_tile(whole, "repeats", metric, repeats=True)]
    judged += [_tile(first[name], WORDS[name], metric, repeats=False) for name in FAILURES]
    made = []
    for place, row in enumerate(np.flatnonzero(failures == "crop")[:MADE].tolist()):
        example = to_unit(preparation.pixels(textures.read(row)))
        made.append(_tile(example, "example", metric))
        noise = torch.Generator().manual_seed(derive_seed(SEED, "noise", place) % 2**31)
        start = torch.rand(example.shape, generator=noise)
        for words, guide, begun in (
            ("without the metric", None, start),
            ("with the metric", metric, start),
            ("with it, from the example", metric, example),
        ):
            found = synthesize_texture(example, guide, start=begun, synthesis=SMALL_SIZE.synthesis, seed=SEED)
            made.append(_tile(found.image, words, metric))
    rows = [
        ("Laid two by two. Green: the metric is right about it, red: wrong", judged),
        ("Made after an example that is cut off its period, from noise unless it begins at the example", made),
    ]
    tile_sheet(rows, SIDE).save(target, "WEBP", quality=75, method=6)


def _tile(texture: Tensor, words: str, metric: Tileability, *, repeats: bool | None = None) -> Tile:
    """A texture (3, h, w) laid two by two, with its score and its jump at the seams."""
    score = float(metric(texture[None])[0])
    frame = NEUTRAL if repeats is None else RIGHT if (score > 0.5) == repeats else WRONG
    return Tile(
        as_bytes(texture.tile(1, 2, 2)), (words, f"score {score:.2f}", f"jump {seam_ratio(texture):.1f}"), frame
    )


def _failure(attributes: object) -> str:
    """What is wrong with a texture; empty where it repeats."""
    return str(json.loads(str(attributes or "{}")).get("failure") or "")


PICTURES: Pictures = {"tileability": draw}
