"""The picture of system 28: images of a generator as it is, with equal shares of colours, and of the rare colour alone.

Both controls are fitted as in the small experiment, in fewer steps: about a minute of a core.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from snellen.core.progress import Silent
from snellen.reproduction.distributional_control.experiment import Experiment
from snellen.reproduction.distributional_control.materials import SMALL, small_material
from snellen.reproduction.shared.documents import Pictures
from snellen.reproduction.shared.tile_sheet import Tile, as_bytes, tile_sheet
from snellen.systems.distributional_control.control import Control
from snellen.systems.distributional_control.energies import ClassEnergy, Weighted
from snellen.systems.distributional_control.fitting import fit_control

#: Seed of no record, steps of a fit, images that β is fitted to, those that the judge counts, and those that are shown.
SEED, STEPS, SAMPLES, JUDGED, SHOWN = 0, 160, 1024, 256, 24

#: Images of a row, and the side of one: two pixels of the sheet for each of an image.
COLUMNS, SIDE = 12, 64


def draw(root: Path, target: Path) -> None:
    """Fit both controls, and let the judge count the colours of what each makes of the same noise."""
    material = small_material()
    experiment = Experiment(material, replace(SMALL, samples=SAMPLES), SEED, Silent())
    fit, first = SMALL.fit.model_copy(update={"steps": STEPS, "checked": 64}), material.first
    balanced = experiment.fitted("balanced", experiment.equal_shares(1.0), fit)
    energy = Weighted(ClassEnergy(first.classifier, {first.wanted: 1.0}), SMALL.weight)
    network = fit_control(material.generator, [energy], fit=fit, rng=experiment.rng("class")).network
    noise = experiment.noise("picture", JUDGED)
    with torch.no_grad():
        sets = {
            "the generator alone": material.generator.images(noise),
            "a control for equal shares": balanced.images_of(noise),
            f"a control for {first.wanted}": Control(material.generator, network).images_of(noise),
        }
    rows: list[tuple[str, list[Tile]]] = []
    for called, images in sets.items():
        tiles = [Tile(as_bytes(image)) for image in images[:SHOWN]]
        rows.append((f"{called}: {counted(first.seen(images), first.balanced)}", tiles[:COLUMNS]))
        rows.append(("", tiles[COLUMNS:]))
    tile_sheet(rows, SIDE).save(target, "WEBP", quality=80, method=6)


def counted(seen: Tensor, names: tuple[str, ...]) -> str:
    """Shares of classes in words.

    >>> counted(torch.tensor([0, 0, 1, 1]), ("red", "green"))
    'red 50 %, green 50 %'
    """
    shares = torch.bincount(seen, minlength=len(names)).double() / len(seen)
    return ", ".join(f"{name} {100 * share:.0f} %" for name, share in zip(names, shares.tolist(), strict=True))


PICTURES: Pictures = {"distributional-control": draw}
