"""The picture of system 22: edited scenes, where they were edited, and what a detector finds.

It trains editors and a detector on a small part of the images of the experiment, which takes a minute or two.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from snellen.core.preprocessing import to_unit
from snellen.core.progress import Silent
from snellen.reproduction.edited_regions.materials import (
    EDITORS,
    SMALL,
    Split,
    made_splits,
    regions_of,
    trained_editors,
    trained_segmenter,
)
from snellen.reproduction.shared.documents import Pictures
from snellen.runs.picture_grid import picture_grid
from snellen.systems.edited_regions.detecting import Regions
from snellen.systems.edited_regions.made_set import Provenance
from snellen.systems.edited_regions.method import editor_map, heat_map

#: Seed of no record, rows, and how often a pixel is repeated.
SEED, ROWS, ENLARGED = 0, 5, 3

#: Fewer images than in the experiment, and more passes over them.
BASES, EDITOR_IMAGES, EPOCHS = 120, 200, 40

HEADS = ("image", "editors, as labelled", "probability", "editors, as found")


def line(one: Provenance) -> str:
    """The line below a row: the turns."""
    turns = [f"{turn.edit} by {turn.editor}" for turn in one.turns]
    return f"{one.base_kind}: {', then '.join(turns) or 'nobody edited it'}"


def grid(split: Split, found: list[Regions]) -> Image.Image:
    """A row for each image: it, its labels, and both maps of the detector."""
    rows = []
    for pixels, labels, one, regions in zip(
        split.labelled.images, split.labelled.labels, split.records, found, strict=True
    ):
        shown = [
            to_unit(pixels),
            editor_map(pixels, labels.numpy()),
            heat_map(pixels, regions.edited),
            editor_map(pixels, regions.labels),
        ]
        rows.append(([_large(picture) for picture in shown], line(one)))
    return picture_grid("Edited scenes, and what a detector finds", list(HEADS), rows)


def _large(picture: Tensor) -> Tensor:
    enlarged = picture.repeat_interleave(ENLARGED, 1).repeat_interleave(ENLARGED, 2)
    return enlarged.mul(255).round().to(torch.uint8)


def chosen(split: Split) -> Split:
    """Images with most turns first, and one that nobody edited."""
    order = sorted(range(len(split.records)), key=lambda at: (-len(split.records[at].turns), at))
    clean = next(at for at in order if not split.records[at].turns)
    kept = {*order[: ROWS - 1], clean}
    return split.select([at in kept for at in range(len(split.records))])


def draw(root: Path, target: Path) -> None:
    """Train and draw."""
    size = replace(SMALL, bases=BASES, editor_images=EDITOR_IMAGES, epochs=EPOCHS)
    networks = trained_editors(size, SEED, Silent())
    _, splits = made_splits(networks, size, SEED, Silent())
    segmenter = trained_segmenter(splits["train"].labelled, size, SEED, Silent())
    assert segmenter.editors == len(EDITORS)
    shown = chosen(splits["test"])
    grid(shown, regions_of(segmenter, shown.labelled.images)).save(target, "WEBP", lossless=True)


PICTURES: Pictures = {"edited-regions": draw}
