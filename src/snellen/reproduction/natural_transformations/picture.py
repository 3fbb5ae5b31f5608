"""Picture of the directions that a judge kept: rows are directions, columns are steps, for three training images.

Takes some minutes: generator, judge and codes are those of the small experiment.
"""

from __future__ import annotations

from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from snellen.core.progress import Silent
from snellen.reproduction.natural_transformations.experiment import SMALL, Experiment
from snellen.reproduction.shared.documents import Pictures
from snellen.systems.natural_transformations.editing import Editing
from snellen.systems.natural_transformations.inversion import render

#: Training images, steps in standard deviations, rows at most, and how much each image is enlarged.
SHOWN, STEPS, MOST, ENLARGED = (0, 3, 4), (-2.0, -1.0, 0.0, 1.0, 2.0), 8, 2


def sheet(editing: Editing, rows: Tensor) -> Tensor:
    """Edits of some images: uint8 (height, width, 3), white lines between images.

    Args:
        editing: with the directions that were kept.
        rows: of the codes, int64 (m,).
    """
    lines = []
    for row in range(min(MOST, len(editing.directions))):
        made = []
        for step in STEPS:
            made.append(render(editing.generator, editing.codes[rows], editing.directions.along(row, step, len(rows))))
        enlarged = torch.stack(made, 1).repeat_interleave(ENLARGED, 3).repeat_interleave(ENLARGED, 4)
        # a wider line behind each image than between its steps
        bordered = torch.nn.functional.pad(enlarged, (1, 1, 1, 1), value=1.0)
        strips = [torch.nn.functional.pad(torch.cat(list(image), 2), (3, 3), value=1.0) for image in bordered]
        lines.append(torch.cat(strips, 2))
    picture = torch.cat(lines, 1).permute(1, 2, 0)
    return (picture.clamp(0, 1) * 255).round().to(torch.uint8)


def draw(root: Path, target: Path) -> None:
    """Train as the small experiment does, and write the picture."""
    made = Experiment(SMALL, 0, Silent())
    autoencoder = made.autoencoder()
    editing = made.editing(autoencoder, made.coded(autoencoder), made.standard())
    with torch.no_grad():
        pixels = sheet(editing, torch.tensor(SHOWN))
    Image.fromarray(pixels.numpy()).save(target, quality=88, method=6)


PICTURES: Pictures = {"natural-transformations": draw}
