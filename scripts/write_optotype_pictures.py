"""Draw the pictures of docs/optotypes.md into docs/pictures: ``python scripts/write_optotype_pictures.py``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from snellen.data.worlds.optotypes.factors import BACKGROUNDS, COLOURS, NUISANCES, SHAPES, STYLES, TEXTURES
from snellen.data.worlds.optotypes.rendering import render
from snellen.data.worlds.optotypes.scene import Lettering, Nuisances, Scene, SceneObject
from snellen.data.worlds.slides.slides import Slides
from snellen.data.worlds.solids.solid_set import Solids
from snellen.data.worlds.textures.textures import Textures

FOLDER = Path(__file__).parents[1] / "docs" / "pictures"

PAIR = (
    SceneObject(shape="star", colour="red", texture="striped", radius=0.45, x=-0.35, y=-0.2),
    SceneObject(shape="heart", colour="blue", texture="dotted", radius=0.4, x=0.45, y=0.35),
)


def save(pictures: Sequence[NDArray[np.uint8]], columns: int, name: str) -> None:
    """Pictures (h, w, 3) of one size in rows, with white lines between them."""
    framed = [np.pad(picture, ((1, 1), (1, 1), (0, 0)), constant_values=255) for picture in pictures]
    rows = [np.concatenate(framed[start : start + columns], 1) for start in range(0, len(framed), columns)]
    FOLDER.mkdir(exist_ok=True)
    Image.fromarray(np.concatenate(rows)).save(FOLDER / f"optotypes-{name}.webp", quality=88, method=6)


def drawn(scenes: Sequence[Scene], size: int) -> list[NDArray[np.uint8]]:
    """Pictures of scenes."""
    return list(render(scenes, size).pixels.permute(0, 2, 3, 1).numpy())


def one_of_each() -> list[Scene]:
    """Every shape in every colour."""
    return [
        Scene(
            objects=(
                SceneObject(
                    shape=shape,
                    colour=colour,
                    texture=TEXTURES[number % 4],
                    radius=(0.5, 0.62, 0.78)[number % 3],
                    rotation=(0.0, 0.3, -0.3)[(number + row) % 3],
                    instance=number,
                ),
            ),
            background=BACKGROUNDS[(number + row) % 6],
            seed=77 * number + row,
        )
        for row, shape in enumerate(SHAPES)
        for number, colour in enumerate(COLOURS)
    ]


def main() -> None:
    """Draw all pictures."""
    save(drawn(one_of_each(), 88), 8, "scenes")
    save(
        drawn([Scene(objects=PAIR, background=b, style=s, seed=5) for s in STYLES for b in BACKGROUNDS], 120),
        6,
        "styles",
    )
    text = Lettering(text="SNELLEN", height=0.2, y=0.85)
    worse = [
        Scene(objects=PAIR, background="grass", seed=5, lettering=text, nuisances=Nuisances(**{name: float(strength)}))
        for name in NUISANCES
        for strength in range(6)
    ]
    save(drawn(worse, 120), 6, "nuisances")
    for viewpoints in ("natural", "any"):
        images = Solids(objects=1, views=4, size=96, viewpoints=viewpoints).images()
        save([np.asarray(images.read(row)) for row in range(len(images))], 8, f"solids-{viewpoints}")
    thumbnail = Slides(count=4, tiles_across=24).thumbnail(0, split="test", longest=720)
    save([np.asarray(thumbnail)], 1, "slides")
    textures = Textures(count=40, size=96).images()
    save([np.asarray(textures.read(row)) for row in range(40)], 8, "textures")


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
