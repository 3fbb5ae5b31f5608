"""The picture of system 8: shots of shapes that the generator never saw, and its images before and after adapting.

Two adapters are fitted as in the small experiment: about a minute of a core.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import torch

from snellen.core.images import ImageSet
from snellen.core.progress import Silent
from snellen.data.class_balance import first_of_each
from snellen.data.files.manifest import load_manifest
from snellen.data.worlds.optotypes.factors import Shape
from snellen.data.worlds.optotypes.small_world import WORLD
from snellen.methods.synthesis.by_name import ByName
from snellen.methods.synthesis.synthesizing import synthesize_into
from snellen.reproduction.few_shot_adaptation.experiment import SMALL
from snellen.reproduction.shared.documents import Pictures
from snellen.reproduction.shared.tile_sheet import Tile, tile_sheet
from snellen.runs.settings import Setting
from snellen.systems.few_shot_adaptation.few_shot import fit_adapters
from snellen.systems.few_shot_adaptation.shots import few_shots

#: Two of the new shapes.
SHAPES: tuple[Shape, ...] = ("crescent", "arrow")

#: Seed of no record, images of a row, and the side of one: two pixels of the sheet for each of an image.
SEED, SHOWN, SIDE = 0, 10, 64

#: Passes over the shots, as in the experiment.
EPOCHS = 120


def tiles_of(images: ImageSet, name: str) -> list[Tile]:
    """The first images of a class."""
    assert images.class_names is not None
    rows = np.flatnonzero(images.labels == images.class_names.index(name))[:SHOWN]
    return [Tile(torch.from_numpy(np.array(images.read(int(row)).convert("RGB"))).permute(2, 0, 1)) for row in rows]


def draw(root: Path, target: Path) -> str:
    """Fit, and draw shots, images of the generator as it is, and images with the adapter of each class."""
    drawn = WORLD.model_copy(update={"shapes": SHAPES, "count": 200, "nuisance_share": 0.2, "seed": SEED})
    shots = few_shots(first_of_each(drawn.images(split="train"), SMALL.many // 2), SMALL.shots, SEED)
    assert shots.images is not None
    fit = SMALL.fit.model_copy(update={"epochs": EPOCHS, "check_every": EPOCHS // 2, "checked": 16})
    plain = ByName()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        fitted = fit_adapters(plain, shots, folder / "adapters", fit=fit, seed=SEED, progress=Silent())
        ways = {"before": plain, "after": plain.model_copy(update={"adapter": folder / "adapters"})}
        sets = {}
        for name, method in ways.items():
            wanted = Setting(name, method.model_copy(update={"steps": SMALL.steps}))
            made = synthesize_into(
                [wanted], shots, folder / name, count=SHOWN, seed=SEED, sheet=False, progress=Silent()
            )
            sets[name] = load_manifest(made.manifest)
        rows: list[tuple[str, list[Tile]]] = []
        for shape in SHAPES:
            rows.append((f"{shape}: the {SMALL.shots} shots", tiles_of(shots.images, shape)))
            rows.append(("generator as it is", tiles_of(sets["before"], shape)))
            rows.append(("after adapting", tiles_of(sets["after"], shape)))
        tile_sheet(rows, SIDE).save(target, "WEBP", quality=80, method=6)
    return "; ".join(f"{name}: {one.steps} steps kept" for name, one in fitted.card.adapters.items())


PICTURES: Pictures = {"few-shot-adaptation": draw}
