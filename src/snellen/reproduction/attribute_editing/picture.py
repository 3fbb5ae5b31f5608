"""The picture of system 27: scenes with the mask of the object, and what one classifier decides after each edit.

It trains the plain network of the small experiment on fewer scenes, which takes seconds.
"""

from __future__ import annotations

from pathlib import Path

import torch

from snellen.core.progress import Silent
from snellen.core.randomness import Randomness
from snellen.methods.edits.masked_object import lenders
from snellen.models.diffusion.loading import load_generator
from snellen.reproduction.attribute_editing.experiment import GENERATOR, MISLED, SMALL, _edited
from snellen.reproduction.attribute_editing.materials import CLASSES, shown
from snellen.reproduction.attribute_editing.networks import trained
from snellen.reproduction.shared.documents import Pictures
from snellen.reproduction.shared.tile_sheet import Tile, as_bytes, tile_sheet, verdict
from snellen.systems.attribute_editing.editor import BackgroundEditor

#: Seed of no record, scenes to train on, and scenes that are shown.
SEED, TRAIN, SHOWN = 0, 1200, 4

#: Kinds of the published list, and what a reader calls them.
KINDS = {
    "inver": "repainted only",
    "plain_background": "plainer",
    "complex_background": "busier",
    "size_5": "5 % of image",
    "random_position": "another place",
    "random_direction": "turned",
}

#: Three pixels of the sheet for each of an image.
SIDE = 96


def draw(root: Path, target: Path) -> None:
    """Train, edit the first scenes, and name what the network decides."""
    classifier = trained(MISLED, shown("train", TRAIN, SEED), SEED, SMALL.epochs, Silent())
    every = shown("test", SHOWN, SEED)
    rng = Randomness(SEED).child("edits").for_examples(every.ids)
    lent = [row or 0 for row in lenders(every.labels, rng)]
    editor = BackgroundEditor(load_generator(GENERATOR), SMALL.steps, SMALL.made)
    made = {"image": every.images}
    made |= {called: _edited(kind, every, lent, rng, editor, classifier).images for kind, called in KINDS.items()}
    decided = {}
    for called, images in made.items():
        with torch.no_grad():
            decided[called] = [CLASSES[at] for at in classifier(images).argmax(1).tolist()]
    rows = []
    for at in range(SHOWN):
        name = CLASSES[int(every.labels[at])]
        tiles = [
            Tile(as_bytes(images[at]), (called, f"sees {decided[called][at]}"), verdict(decided[called][at], name))
            for called, images in made.items()
        ]
        tiles.insert(1, Tile(as_bytes(every.masks[at][None].float()), ("mask", "of the object")))
        rows.append(("", tiles))
    tile_sheet(rows, SIDE).save(target, "WEBP", quality=75, method=6)


PICTURES: Pictures = {"attribute-editing": draw}
