"""A picture of the experiment: real images of one look, shifted ones, and what the generator draws from prompts."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from snellen.core.images import ImageSet
from snellen.core.progress import Silent
from snellen.data.class_balance import rows_by_class
from snellen.data.worlds.optotypes.small_world import SHAPES
from snellen.methods.synthesis.by_name import ByName
from snellen.methods.synthesis.manifest_rows import Source
from snellen.reproduction.conditional_generation.materials import ALIKE, SMALL, scenes, shifts
from snellen.reproduction.shared.documents import Pictures
from snellen.runs.picture_grid import picture_grid
from snellen.runs.settings import Setting
from snellen.systems.conditional_generation.study import generated

#: Rows of generated images: words of the picture → templates.
SETTINGS = {
    "generated, diverse prompts": SMALL.diverse,
    "generated, one prompt": SMALL.single,
    "generated, the look of real images": ALIKE,
}


def rows() -> dict[str, list[Tensor]]:
    """One image of each class for each row; the generator makes 18."""
    real, tests = scenes("train", 1, seed=0), shifts(1)
    sets: dict[str, ImageSet] = {"real": real, **{f"shifted: {name}": tests[name] for name in list(tests)[1:]}}
    found = {label: _one_each(images) for label, images in sets.items()}
    with tempfile.TemporaryDirectory() as scratch:
        for number, (label, templates) in enumerate(SETTINGS.items()):
            settings = [Setting("one", ByName(templates=templates, steps=SMALL.steps))]
            folder = Path(scratch) / str(number)
            made = generated(settings, Source.of_images(real), folder, 0, Silent(), sheet=False)
            found[label] = _one_each(made["one"])
    return found


def _one_each(images: ImageSet) -> list[Tensor]:
    """The first image of each class, uint8 (3, h, w)."""
    places = rows_by_class(images)
    return [torch.from_numpy(np.array(images.read(places[shape][0]))).permute(2, 0, 1) for shape in SHAPES]


def draw(root: Path, target: Path) -> None:
    """Draw all rows."""
    shown = [(pictures, label) for label, pictures in rows().items()]
    grid = picture_grid("What students see, and what they are tested on", list(SHAPES), shown)
    grid.save(target, "WEBP", lossless=True)


PICTURES: Pictures = {"conditional-generation": draw}
