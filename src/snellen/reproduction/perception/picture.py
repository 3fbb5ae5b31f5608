"""The picture of system 20: digits that nobody showed the autoencoder, and what it makes of them step by step.

It overfits the autoencoder of the small experiment to four digits of each class, for half as long.
"""

from __future__ import annotations

from pathlib import Path

import torch

from snellen.core.progress import Silent
from snellen.core.randomness import Randomness
from snellen.reproduction.perception.digits import digits
from snellen.reproduction.perception.experiment import SMALL
from snellen.reproduction.shared.documents import Pictures
from snellen.reproduction.shared.tile_sheet import Tile, as_bytes, tile_sheet, verdict
from snellen.systems.perception.attractors import EXACT
from snellen.systems.perception.orbits import orbit
from snellen.systems.perception.recipe import PerceptualAutoencoderRecipe, fit_autoencoder

#: Seed of no record, digits of each class to remember, test images that are iterated, and whole batches.
SEED, PER_CLASS, TEST, EPOCHS = 0, 4, 100, 800

#: Steps that are shown, and all of them.
STEPS, LAST = (1, 2, 3, 5, 8), 30

#: Rows of digits that end near one of their class, and near one of another; side of a picture.
EACH, SIDE = 2, 84


def draw(root: Path, target: Path) -> str:
    """Overfit, iterate test images, and show some that settle right and some that settle wrong."""
    drawn = digits(SMALL.data, per_class=PER_CLASS, test=TEST, val=1, side=SMALL.side, seed=SEED)
    rng = Randomness(SEED).child("reduced set", PER_CLASS)
    kind, width = SMALL.autoencoder
    recipe = PerceptualAutoencoderRecipe(autoencoder=kind, width=width, side=SMALL.side)
    plan = SMALL.memory.model_copy(update={"epochs": EPOCHS})
    network = fit_autoencoder(recipe.network(rng), drawn.train, plan=plan, rng=rng, progress=Silent())
    walked = orbit(network.eval(), drawn.test_images, LAST)
    remembered = drawn.train.images
    nearest = torch.cdist(walked.seen.flatten(1), remembered.flatten(1), compute_mode=EXACT).argmin(1)
    shown_class, truth = drawn.train.targets[nearest], drawn.test_labels
    right = shown_class == truth
    rows: list[tuple[str, list[Tile]]] = []
    for title, kept in (
        ("settles near a digit of its class", right),
        ("settles near a digit of another class", ~right),
    ):
        for number, at in enumerate(kept.nonzero().flatten()[:EACH].tolist()):
            own = f"a {int(truth[at])}"
            end = f"a {int(shown_class[at])}"
            tiles = [Tile(as_bytes(drawn.test_images[at]), (f"observed: {own}",))]
            tiles += [Tile(as_bytes(walked.states[step, at]), (f"step {step}",)) for step in (*STEPS, LAST)]
            tiles.append(Tile(as_bytes(remembered[nearest[at]]), (f"learned: {end}",), verdict(end, own)))
            rows.append(("" if number else title, tiles))
    tile_sheet(rows, SIDE).save(target, "WEBP", lossless=True, method=6)
    return f"{float(right.double().mean()):.0%} of {TEST} test images settle nearest to a digit of their class"


PICTURES: Pictures = {"perception": draw}
