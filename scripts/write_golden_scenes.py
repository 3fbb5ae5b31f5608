"""Write the pictures that tests compare the renderer of scenes with. Run it only when the renderer is meant to change.

    python scripts/write_golden_scenes.py
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from snellen.data.optotypes.factors import STYLES
from snellen.data.optotypes.rendering import VERSION, render
from snellen.data.optotypes.scenes import Scenes

GOLDEN = Path(__file__).parents[1] / "tests" / "data" / "optotypes" / "golden_scenes.npz"

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
    scenes = [*WORLD.scenes("train"), *WORLD.scenes("test")]
    np.savez_compressed(
        GOLDEN,
        version=np.array(VERSION),
        records=np.array([scene.to_json() for scene in scenes]),
        pixels=render(scenes, 32).pixels.numpy(),
    )
    print(f"{GOLDEN}: {GOLDEN.stat().st_size} bytes")


if __name__ == "__main__":
    main()
