"""A picture of the controls of one seed: a row for each, with the shares that the independent judge sees."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from snellen.core.progress import Silent
from snellen.reproduction.distributional_control.experiment import Experiment
from snellen.reproduction.distributional_control.materials import SMALL, small_material
from snellen.reproduction.shared.documents import Pictures
from snellen.runs.picture_grid import picture_grid
from snellen.systems.distributional_control.controlling import Wanted

#: Images of each row.
SHOWN = 10


def rows(seed: int = 0) -> list[tuple[list[Tensor], str]]:
    """Images of the generator, and of three controls of the same noise."""
    material = small_material()
    run = Experiment(material, SMALL, seed, Silent())
    first = material.first
    wanted = {
        "equal shares of red, green and blue": run.equal_shares(1.0),
        f"{first.wanted} alone": Wanted(first.classifier, classes={first.wanted: 1.0}, weight=SMALL.weight),
        f"the text “{material.text}”": Wanted(
            text=material.text, tower=material.tower, text_weight=SMALL.text_weight, views=SMALL.views
        ),
    }
    noise = run.noise("picture", 512)
    made = {"the generator as it is": material.generator.images(noise)}
    made |= {label: run.fitted(label, one, SMALL.fit).images_of(noise) for label, one in wanted.items()}
    found = []
    for label, images in made.items():
        counts = torch.bincount(first.seen(images), minlength=len(first.balanced)) / len(images)
        shares = ", ".join(f"{name} {float(share):.0%}" for name, share in zip(first.balanced, counts, strict=True))
        pixels = (images[:SHOWN] * 255).round().to(torch.uint8)
        found.append((list(pixels), f"{label}: {shares}"))
    return found


def draw(root: Path, target: Path) -> None:
    """Draw all rows; equal columns have the same noise."""
    grid = picture_grid("One frozen generator and three controls of it", [""] * SHOWN, rows())
    grid.save(target, "WEBP", lossless=True)


PICTURES: Pictures = {"distributional-control": draw}
