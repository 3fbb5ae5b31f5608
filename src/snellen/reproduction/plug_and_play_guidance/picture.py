"""The picture of system 12: a generator without a condition, alone and steered to a class in three ways.

Experts are fitted as in the small experiment, on fewer images: about a minute of a core.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from torch import Tensor

from snellen.core.progress import Silent
from snellen.core.randomness import Randomness
from snellen.methods.generation.class_steer import ClassSteer
from snellen.methods.generation.generator_call import GeneratorCall
from snellen.models.diffusion.generate import Steer, Steering, generate
from snellen.reproduction.plug_and_play_guidance.experiment import SMALL, readings
from snellen.reproduction.shared.documents import Pictures
from snellen.reproduction.shared.guided_generation.setups import Setup, thumbnails
from snellen.reproduction.shared.tile_sheet import Tile, as_bytes, tile_sheet, verdict

#: Seed of no record, images, and scale of guidance.
SEED, COUNT, SCALE = 0, 9, 9.0

#: Images that experts are fitted to, and steps of each.
SYNTHETIC, ITERATIONS = 400, 160

#: Ways, and what a reader calls them.
WAYS = {
    "off_the_shelf": "the classifier reads the noisy image",
    "estimate": "the classifier reads an estimate of the clean image",
    "experts": "experts for four ranges of noise, fitted to the classifier's answers",
}

#: The first row.
ALONE = "no guidance; below, the class that each column should show"

#: Three pixels of the sheet for each of an image.
SIDE = 84


def made(setup: Setup, requested: GeneratorCall, steer: Steer | None) -> Tensor:
    """Images of a generator that knows no class, from the same noise, with a guide or none."""
    nothing: Steer = lambda rows, rng: Steering()  # noqa: E731 - no guidance
    return generate(
        setup.sampler, requested.seeds, condition=requested.nothing, steer=steer or nothing, batch_size=COUNT
    ).images


def draw(root: Path, target: Path) -> None:
    """Fit, generate, and let an independent network say what it sees."""
    sizes = SMALL
    fit = sizes.fit.model_copy(update={"synthetic": SYNTHETIC, "iterations": ITERATIONS, "batch_size": 64})
    setup = replace(thumbnails(), steps=sizes.steps)
    requested = setup.ask(COUNT, SEED)
    wanted = [requested.class_names[at] for at in requested.classes.tolist()]
    ways = readings(setup, replace(sizes, ways=tuple(WAYS), fit=fit), Randomness(SEED), Silent())
    sets = {ALONE: made(setup, requested, None)}
    for way, title in WAYS.items():
        sets[title] = made(setup, requested, ClassSteer(requested, ways[way], SCALE))
    rows = []
    for title, images in sets.items():
        tiles = []
        for image, seen, name in zip(images, setup.judge.answers(images), wanted, strict=True):
            unguided = title == ALONE
            lines = (seen, f"want {name.partition('/')[0]}") if unguided else (seen,)
            tiles.append(Tile(as_bytes(image), lines, None if unguided else verdict(seen, name)))
        rows.append((title, tiles))
    tile_sheet(rows, SIDE).save(target, "WEBP", lossless=True, method=6)


PICTURES: Pictures = {"plug-and-play-guidance": draw}
