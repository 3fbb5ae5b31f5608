"""Units of a classifier of photographs, described by the embedded describer.

Photographs that may be shown (``known:photos``; the page of the system names their authors) are cut into overlapping
squares. Units of two layers of EfficientNet-Lite0 are described among them. Their numbers decide which are shown.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from PIL import Image

from snellen.core.images import ImageSet
from snellen.core.randomness import Randomness
from snellen.data.files.arrays import load_arrays
from snellen.data.references import load_images
from snellen.models.classifiers.references import load_classifier
from snellen.reproduction.shared.documents import Pictures
from snellen.runs.picture_grid import picture_grid
from snellen.systems.neuron_descriptions.method import NeuronDescriptions

LAYERS = ("blocks.1", "blocks.4")
#: Every so many-th unit of a layer is shown, at most so many of each.
EVERY, MOST = {"blocks.1": 4, "blocks.4": 20}, 5
SIDE, STEP = 224, 96


def squares(photos: ImageSet) -> ImageSet:
    """Squares of all photographs that may be shown, at most 40 of each."""
    found = []
    for row, attributes in enumerate(photos.column("attributes")):
        known = json.loads(str(attributes))
        if not known["may_show"]:
            continue
        image = photos.read(row)
        scale = 2 * SIDE / min(image.size)
        large = np.asarray(
            image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.LANCZOS)
        )
        tops, lefts = range(0, large.shape[0] - SIDE + 1, STEP), range(0, large.shape[1] - SIDE + 1, STEP)
        cut = [large[top : top + SIDE, left : left + SIDE] for top in tops for left in lefts]
        found += cut[:: max(1, len(cut) // 40)]
    return load_arrays(np.stack(found), name="squares of photographs")


def draw(root: Path, target: Path) -> str:
    """Describe and draw; returns how many squares, units and different descriptions there are."""
    classifier = load_classifier("bundled:efficientnet-lite0")
    images = squares(load_images("known:photos"))
    method = NeuronDescriptions(layer=LAYERS, shown=5)
    found = method.describe(classifier, images, rng=Randomness(0))
    rows = []
    for part, status, text, pictures, record in zip(
        found.parts, found.status, found.text, found.pictures, found.records, strict=True
    ):
        every = EVERY[record["layer"]]
        if status == "ok" and record["unit"] % every == 0 and record["unit"] < MOST * every and len(pictures) == 5:
            rows.append((list(pictures), f"{part}: {text}"))
    heads = ["highest", "second", "third", "fourth", "fifth"]
    picture_grid("bundled:efficientnet-lite0 among squares of photographs", heads, rows).save(target, quality=80)
    different = len({text for text in found.text if text})
    return f"{len(images)} squares, {len(found.parts)} units, {different} different descriptions"


PICTURES: Pictures = {"neurons-photos": draw}
