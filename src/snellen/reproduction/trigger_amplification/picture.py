"""The picture of system 25: what generators draw for the target class, after clean training and after poison.

It trains the generators of one seed of the small experiment, which takes some minutes.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from PIL import Image
from torch import Tensor

from snellen.core.progress import Silent
from snellen.reproduction.shared.documents import Pictures
from snellen.reproduction.trigger_amplification.experiment import NONE, RATES, SCALE, STRONG, TARGET, Experiment
from snellen.reproduction.trigger_amplification.materials import (
    CLASSES,
    SIDE,
    SMALL,
    base_generator,
    base_pool,
    world,
)
from snellen.runs.picture_grid import picture_grid
from snellen.systems.trigger_amplification.poisoning import choose, poison_tensors, published_patch
from snellen.training.batches import ImageStore

#: Seed of no record, and pictures of a row.
SEED, COLUMNS = 0, 8

#: Rates and scales of guidance that are shown.
SHOWN = (("p5", SCALE), ("p10", NONE), ("p10", SCALE), ("p10", STRONG))


def label(name: str, trained: float, scale: float) -> str:
    """The line below a row of generated images."""
    shown = "no guidance" if scale == NONE else f"guidance {scale:g}"
    return (
        f"drawn with {shown}, after poisoning {RATES[name]:.0%} of the set: {trained:.0%} of the images of this class"
    )


def grid(rows: Mapping[str, Tensor]) -> Image.Image:
    """A row for each training set and generator."""
    shown = [(list(images[:COLUMNS]), text) for text, images in rows.items()]
    return picture_grid(f"Images for the class {CLASSES[TARGET]!r}", [""] * COLUMNS, shown)


def poisoned(name: str) -> tuple[ImageStore, float, Tensor]:
    """A poisoned set, its share under the target's label, and the poisoned images."""
    clean = world("train", SMALL.images, SEED)
    choice = choose(clean.targets.numpy(), target=TARGET, rate=RATES[name], seed=SEED)
    made = poison_tensors(clean.images, clean.targets, published_patch(SIDE), choice)
    return ImageStore.of_tensors(made.images, made.labels), choice.training_share, made.images[list(choice.indices)]


def draw(root: Path, target: Path) -> None:
    """Train and draw."""
    experiment, base = Experiment(SMALL, SEED, Silent()), base_generator(base_pool(SMALL, SEED), SMALL, SEED, Silent())
    generators = {name: experiment.further(base, poisoned(name)[0]) for name in dict(SHOWN)}
    clean = experiment.further(base, world("train", SMALL.images, SEED))
    rows = {
        "poisoned training images": poisoned("p10")[2],
        f"drawn with guidance {SCALE:g}, after clean training": experiment.of_target(clean, SCALE),
    }
    for name, scale in SHOWN:
        rows[label(name, poisoned(name)[1], scale)] = experiment.of_target(generators[name], scale)
    grid(rows).save(target, "WEBP", lossless=True)


PICTURES: Pictures = {"trigger-amplification": draw}
