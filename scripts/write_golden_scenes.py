"""Write the pictures that tests compare the renderer of scenes with: ``python scripts/write_golden_scenes.py``.

Run it only when the renderer is meant to change.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from snellen.data.worlds.optotypes.factors import STYLES
from snellen.data.worlds.optotypes.rendering import render
from snellen.data.worlds.optotypes.scenes import Scenes

FOLDER = Path(__file__).parents[1] / "tests" / "data" / "optotypes"
SIZE, IN_A_ROW = 32, 8

#: Every factor, in two splits.
WORLD = Scenes(
    count=24,
    seed=20,
    objects=(1, 3),
    lightings=("dim", "bright"),
    styles=STYLES,
    nuisance_share=0.75,
    lettering_share=0.3,
    individuals=20,
    captions=False,
)


def main() -> None:
    """Write the records, one a line, and their pictures in one image, row by row."""
    scenes = [*WORLD.scenes("train"), *WORLD.scenes("test")]
    (FOLDER / "golden_scenes.jsonl").write_text("".join(f"{scene.to_json()}\n" for scene in scenes), encoding="utf-8")
    pixels = render(scenes, SIZE).pixels.permute(0, 2, 3, 1).numpy()
    rows = [np.concatenate(pixels[start : start + IN_A_ROW], 1) for start in range(0, len(pixels), IN_A_ROW)]
    Image.fromarray(np.concatenate(rows)).save(FOLDER / "golden_scenes.png", optimize=True)


if __name__ == "__main__":
    main()
