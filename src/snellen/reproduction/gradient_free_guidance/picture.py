"""The picture of system 38: shirts from the same noise without guidance and with it, and away from which class.

Generator, guide and judge are embedded; it takes seconds.
"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import torch

from snellen.core.images import ImageSet
from snellen.core.randomness import Randomness
from snellen.methods.generation.sample import Sample
from snellen.models.classifiers.references import load_classifier
from snellen.reproduction.shared.documents import Pictures
from snellen.reproduction.shared.tile_sheet import Tile, tile_sheet, verdict
from snellen.systems.gradient_free_guidance.method import GradientFreeGuidance

GENERATOR, JUDGE = "bundled:fashion-diffusion", "bundled:fashion-judge"

#: The class that networks confuse most, seeds of no record, and steps of the sampler.
WANTED, SEEDS, STEPS = "Shirt", tuple(range(8)), 20

#: Three pixels of the sheet for each of an image.
SIDE = 84


def tiles_of(made: ImageSet, *, guided: bool) -> list[Tile]:
    """Images with what an independent network sees; guided ones with the class that most steps went away from."""
    judge = load_classifier(JUDGE)
    tiles = []
    for row in range(len(made)):
        with torch.no_grad():
            seen = judge.class_names[int(judge(judge.prepare(made.read(row))[None]).argmax())]
        lines = [seen]
        if guided:
            lines += away_from(str(made.column("attributes")[row]))
        pixels = torch.from_numpy(np.array(made.read(row))).permute(2, 0, 1)
        tiles.append(Tile(pixels, tuple(lines), verdict(seen, WANTED)))
    return tiles


def away_from(attributes: str) -> tuple[str, str]:
    """Two lines: the class that most guided steps went away from, and the mean scale w over all steps."""
    reported = json.loads(attributes)
    often = Counter(away for _, away, _, _ in reported["guided"]).most_common(1)
    away = often[0][0].partition("/")[0] if often else "nothing"
    return f"not {away}", f"w {reported['mean scale']:.1f}"


def draw(root: Path, target: Path) -> None:
    """Make the same requests in three ways."""
    requests = [{"id": str(seed), "class": WANTED, "seed": seed} for seed in SEEDS]
    ways = {
        "shirts are requested, no guidance": Sample(generator=GENERATOR, steps=STEPS, guidance_scale=1.0),
        "classifier-free guidance, scale 2": Sample(generator=GENERATOR, steps=STEPS, guidance_scale=2.0),
        "guided away from the class that a classifier confuses them with most": GradientFreeGuidance(
            generator=GENERATOR, steps=STEPS
        ),
    }
    rows = [
        (title, tiles_of(method.generate(requests, rng=Randomness(0)), guided=isinstance(method, GradientFreeGuidance)))
        for title, method in ways.items()
    ]
    tile_sheet(rows, SIDE).save(target, "WEBP", lossless=True, method=6)


PICTURES: Pictures = {"gradient-free-guidance": draw}
